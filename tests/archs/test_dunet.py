"""The U-Net discriminator of traiNNer-redux: its files are read, and it computes what they say."""

import torch
import torch.nn.functional as F
from spandrel.architectures.__arch_helpers.dysample import DySample
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from traiNNer.archs import load_network


class Theirs(nn.Module):
    """By its description: convolutions of stride 2, DySample on the way up, sums with the maps of the way down."""

    def __init__(self, width):
        super().__init__()
        self.in_to_dim = nn.Conv2d(3, width, 3, 1, 1)
        for index in range(3):
            down = spectral_norm(nn.Conv2d(width << index, width << index + 1, 3, 2, 1))
            self.add_module(f"e_x{index + 1}", nn.Sequential(down))
            channels = width << 3 - index
            up = (
                DySample(channels, channels, 2, 4, False),
                spectral_norm(nn.Conv2d(channels, channels // 2, 3, 1, 1)),
            )
            self.add_module(f"up{index + 1}", nn.Sequential(*up))
        ends = [spectral_norm(nn.Conv2d(width, width, 3, 1, 1, bias=False)) for _ in range(2)]
        self.end_conv = nn.Sequential(ends[0], nn.Mish(), ends[1], nn.Mish(), nn.Conv2d(width, 1, 3, 1, 1))

    def forward(self, x):
        maps = [self.in_to_dim(x)]
        for down in (self.e_x1, self.e_x2, self.e_x3):
            maps.append(F.mish(down(maps[-1])))
        x = maps.pop()
        for up in (self.up1, self.up2, self.up3):
            x = up(x) + maps.pop()
        return self.end_conv(x)


@torch.no_grad()
def test_a_file_of_their_trainer_loads_and_judges_the_same(tmp_path):
    torch.manual_seed(0)
    theirs = Theirs(8).eval()
    for up in (theirs.up1, theirs.up2, theirs.up3):
        nn.init.normal_(up[0].scope.weight)
    torch.save({"params": theirs.state_dict()}, tmp_path / "net_d.pth")
    ours = load_network(tmp_path / "net_d.pth")
    image = torch.rand(2, 3, 40, 24)
    torch.testing.assert_close(ours(image), theirs(image), atol=1e-5, rtol=1e-4)
    assert ours.options == {"num_in_ch": 3, "num_feat": 8}
