"""How gradients are put together into messages between processes."""

import torch
import torch.distributed as dist

from traiNNer.runtime import distributed
from traiNNer.runtime.distributed import DistributedContext, messages


def test_messages_hold_every_tensor_once_and_stay_below_the_limit():
    tensors = [torch.zeros(n) for n in (3, 5, 40, 2, 2, 2)] + [torch.zeros(4, dtype=torch.float64)]
    groups = list(messages(tensors, 8 * 4))
    assert sorted(id(t) for group in groups for t in group) == sorted(map(id, tensors))
    for group in groups:
        assert len({t.dtype for t in group}) == 1
        assert len(group) == 1 or sum(t.nbytes for t in group) <= 8 * 4
    assert [len(group) for group in groups] == [2, 1, 3, 1]


def test_a_large_tensor_is_averaged_where_it_lies_in_whatever_order(monkeypatch):
    reduced = []

    def all_reduce(flat):
        """With a process whose values count up in the order of the memory."""
        reduced.append(flat.data_ptr())
        flat.add_(torch.arange(flat.numel(), dtype=flat.dtype).view(flat.shape))

    monkeypatch.setattr(dist, "new_group", lambda **_: object())
    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    monkeypatch.setattr(distributed, "_MESSAGE", 0)
    weight = torch.randn(4, 3, 5, 2, generator=torch.Generator().manual_seed(0))
    laid = [weight.clone(memory_format=torch.channels_last), weight.clone(), weight[:, :, :1], torch.ones(())]
    before = [tensor.clone() for tensor in laid]  # in the same order, but without gaps
    DistributedContext(world_size=2).average(laid)
    for tensor, old in zip(laid, before, strict=True):
        other = torch.empty_like(old)
        other.as_strided((old.numel(),), (1,)).copy_(torch.arange(old.numel()))
        assert torch.equal(tensor, (old + other) / 2)
    assert [tensor.data_ptr() in reduced for tensor in laid] == [True, True, False, True]
