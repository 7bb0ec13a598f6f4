"""Tiles of sides that the network does not work in."""

import torch
import torch.nn.functional as F
from torch import nn

from traiNNer.archs import NetworkFacts
from traiNNer.inference.network import EvalNetwork
from traiNNer.inference.tiles import Tiles


class Windows(nn.Module):
    """Adds to every pixel the mean of its window of 4 x 4: a window that begins elsewhere has another mean."""

    def forward(self, x):
        means = F.avg_pool2d(x, 4)
        return (x + F.interpolate(means, scale_factor=4)).repeat_interleave(2, 2).repeat_interleave(2, 3) / 2


def test_cudnn_searches_for_no_kernels_while_images_of_many_sizes_are_computed(monkeypatch):
    class Watching(Windows):
        def forward(self, x):
            seen.append(torch.backends.cudnn.benchmark)
            return super().forward(x)

    seen = []
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    EvalNetwork(Watching(), NetworkFacts("generator", scale=2)).upscale(torch.rand(1, 3, 8, 8))
    assert (seen, torch.backends.cudnn.benchmark) == ([False], True)


def test_tiles_are_rounded_up_to_the_windows_of_the_network_and_give_the_same_picture(caplog):
    caplog.set_level("INFO")
    facts = NetworkFacts("generator", scale=2, tile_margin=3, multiple_of=4, min_size=8)
    model = EvalNetwork(Windows(), facts)
    lq = torch.rand(1, 3, 36, 28, generator=torch.Generator().manual_seed(0))
    whole = Tiles(0, 32).upscale(model, lq)
    assert not caplog.records
    for side, overlap in [(10, 3), (13, 5), (12, 1)]:
        torch.testing.assert_close(Tiles(side, overlap).upscale(model, lq), whole)
    assert "tiles of 10 with an overlap of 3 LQ pixels become tiles of 12 with 4" in caplog.text
    caplog.clear()
    Tiles(3, 0).upscale(model, lq)
    assert "become tiles of 8 with 0" in caplog.text
    caplog.clear()
    Tiles(16, 8).upscale(model, lq)
    assert not caplog.records
