"""How gradients are put together into messages between processes."""

import torch

from traiNNer.runtime.distributed import messages


def test_messages_hold_every_tensor_once_and_stay_below_the_limit():
    tensors = [torch.zeros(n) for n in (3, 5, 40, 2, 2, 2)] + [torch.zeros(4, dtype=torch.float64)]
    groups = list(messages(tensors, 8 * 4))
    assert sorted(id(t) for group in groups for t in group) == sorted(map(id, tensors))
    for group in groups:
        assert len({t.dtype for t in group}) == 1
        assert len(group) == 1 or sum(t.nbytes for t in group) <= 8 * 4
    assert [len(group) for group in groups] == [2, 1, 3, 1]
