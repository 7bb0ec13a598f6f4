"""MUNet, the U-Net discriminator of the ParagonSR2 trainings: one logit a pixel, from four views.

The views are a U-Net over the colours, image gradients, the log spectrum and the bottleneck; a softmax a
pixel mixes them. Philip Hofmann, December 2025. Every learned convolution is spectrally normalised (T. Miyato
et al., ICLR 2018, arXiv 1802.05957).

Against the original: the frozen resampling filters hold their true taps (the original initialisation
overwrote them with noise; a file that stores such noise keeps it when it is loaded), the spectrum of a sample
stays with that sample, and its logarithm has bounded derivatives, so that gradient penalties stay finite.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from traiNNer.archs import NETWORKS, NetworkFacts, recorded
from traiNNer.archs.detectors import Guess, recognises
from traiNNer.archs.paragonsr2.resampler import PREFILTER_TAPS, RECONSTRUCTION_TAPS, Sep
from traiNNer.archs.weights_file import Weights
from traiNNer.registry import ConfigError

# N: batch, C: channels, R: reduced channels, H, W: height and width of the image, h, w: those of the
# bottleneck, L: its pixels

LUMA = (0.299, 0.587, 0.114)
"""Rec. 601, from which gradients and the spectrum are taken."""
SPECTRUM_FLOOR = 1e-5
"""Magnitude at which the log spectrum levels off; 8-bit images have noise of about 1e-3."""


def _conv(
    in_channels: int, out_channels: int, kernel: int = 3, *, stride: int = 1, bias: bool = False
) -> nn.Module:
    padding = (kernel - 1) // 2
    return spectral_norm(nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=bias))


class SelfAttention(nn.Module):
    """Attention among all pixels of the bottleneck, added with a weight that starts at zero.

    H. Zhang et al., Self-Attention GAN, ICML 2019 (arXiv 1805.08318). Written out because the fused kernels
    have no second derivative, which gradient penalties need. Memory grows with the square of the bottleneck's
    area (256 pixels for a patch of 256 at four levels).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        reduced = max(1, channels // 8)
        self.query = _conv(channels, reduced, 1, bias=True)
        self.key = _conv(channels, reduced, 1, bias=True)
        self.value = _conv(channels, channels, 1, bias=True)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x_NChw: Tensor) -> Tensor:
        """`(n, c, h, w)` to the same."""
        query_NRL, key_NRL = self.query(x_NChw).flatten(2), self.key(x_NChw).flatten(2)
        scores_NLL = query_NRL.transpose(1, 2) @ key_NRL * query_NRL.shape[1] ** -0.5
        mixed_NCL = self.value(x_NChw).flatten(2) @ scores_NLL.softmax(dim=-1).transpose(1, 2)
        return x_NChw + self.gamma * mixed_NCL.view_as(x_NChw)


class MagicResize(nn.Module):
    """The fixed resampler to any size: 7-tap low-pass, nearest neighbour, 5-tap reconstruction."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sharpen = Sep(channels, PREFILTER_TAPS)
        self.resample_conv = Sep(channels, RECONSTRUCTION_TAPS)

    def forward(self, x_NCHW: Tensor, size: tuple[int, int]) -> Tensor:
        """`(n, c, *size)`."""
        return self.resample_conv(F.interpolate(self.sharpen(x_NCHW), size, mode="nearest"))


class UpBlock(nn.Module):
    """Upscales to the size of a skip connection and joins it."""

    def __init__(self, in_channels: int, skip_channels: int, slope: float) -> None:
        super().__init__()
        self.magic_upsample = MagicResize(in_channels)
        self.post_upsample_conv = _conv(in_channels, skip_channels)
        self.fusion_conv = nn.Sequential(_conv(2 * skip_channels, skip_channels), nn.LeakyReLU(slope))

    def forward(self, x_NCHW: Tensor, skip_NCHW: Tensor) -> Tensor:
        """A map like the skip."""
        height, width = skip_NCHW.shape[-2:]
        enlarged = self.post_upsample_conv(self.magic_upsample(x_NCHW, (height, width)))
        return self.fusion_conv(torch.cat([enlarged, skip_NCHW], dim=1))


class Fusion(nn.Module):
    """Mixes the four views with a softmax of their own at each pixel."""

    def __init__(self, channels: int, slope: float) -> None:
        super().__init__()
        self.attention_conv = nn.Sequential(
            _conv(4 * channels, channels, 1, bias=True), nn.LeakyReLU(slope), _conv(channels, 4, 1, bias=True)
        )
        self.fusion_conv = nn.Sequential(
            _conv(channels, channels), nn.LeakyReLU(slope), _conv(channels, channels), nn.LeakyReLU(slope)
        )

    def forward(self, views: list[Tensor]) -> Tensor:
        """Four maps `(n, c, h, w)` to one."""
        weights = self.attention_conv(torch.cat(views, dim=1)).softmax(dim=1)
        mixed = sum(weight * view for weight, view in zip(weights.split(1, dim=1), views, strict=True))
        return self.fusion_conv(mixed)


@NETWORKS.register("munet")
class MUNet(nn.Module):
    """The discriminator; its author advises the defaults beside large generators, 32, (1, 2, 2) beside small.

    Convolutions keep torch's default initialisation: spectral normalisation takes out their size.

    Args:
        num_feat: Channels at full resolution.
        ch_mult: Channels of each halving, in units of `num_feat`.
        slope: Of the leaky ReLUs.
        num_in_ch: 3 for RGB; with other counts gradients and spectrum are taken from the mean channel.
        pool_frequency: Average the spectrum's features before they are mixed, since their coordinates are
            frequencies and not places. The original mixes them place by place, and so does the default, for
            which its files were trained.
    """

    luma: Tensor

    def __init__(
        self,
        *,
        num_feat: int = 64,
        ch_mult: tuple[int, ...] = (1, 2, 4, 8),
        slope: float = 0.2,
        num_in_ch: int = 3,
        pool_frequency: bool = False,
    ) -> None:
        super().__init__()
        self.options = recorded(locals())
        if not ch_mult:
            raise ConfigError("ch_mult needs at least one value, such as [1, 2, 4, 8]")
        self.facts = NetworkFacts(
            kind="discriminator", min_size=2 ** len(ch_mult), tile_margin=None, channels=num_in_ch
        )
        self.pool_frequency = pool_frequency
        luma = LUMA if num_in_ch == 3 else (1 / num_in_ch,) * num_in_ch
        self.register_buffer("luma", torch.tensor(luma).view(1, -1, 1, 1), persistent=False)
        widths = [num_feat, *(num_feat * factor for factor in ch_mult)]
        act = nn.LeakyReLU(slope)
        self.in_conv = _conv(num_in_ch, num_feat, bias=True)
        self.down_blocks = nn.ModuleList(
            nn.Sequential(_conv(fine, coarse, 4, stride=2), act) for fine, coarse in pairwise(widths)
        )
        self.mid_conv = nn.Sequential(_conv(widths[-1], widths[-1]), act, _conv(widths[-1], widths[-1]), act)
        self.self_attn = SelfAttention(widths[-1])
        self.up_blocks = nn.ModuleList(
            UpBlock(coarse, fine, slope) for coarse, fine in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.grad_conv = nn.Sequential(_conv(2, num_feat // 2), act, _conv(num_feat // 2, num_feat), act)
        self.freq_proc = nn.Sequential(_conv(1, num_feat // 2), act, _conv(num_feat // 2, num_feat), act)
        self.patch_reduce = nn.Sequential(_conv(widths[-1], num_feat, 1, bias=True), act)
        self.patch_upsample = nn.Sequential(_conv(num_feat, num_feat, bias=True), act)
        self.attention_fusion = Fusion(num_feat, slope)
        self.out_conv = _conv(num_feat, 1, bias=True)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` in 0..1 to logits `(n, 1, h, w)`, high for real."""
        return self.forward_features(x_NCHW)["logits"]

    def forward_features(self, x_NCHW: Tensor) -> dict[str, Tensor]:
        """The logits and, by name, the maps that a feature matching loss compares, in order of depth.

        `in_conv`, `down_1` to `down_n`, `bottleneck` (after attention), the four views `spatial`, `gradient`,
        `frequency`, `patch` and their mixture `fused` (all `(n, num_feat, h, w)`), `logits`.
        """
        height, width = x_NCHW.shape[-2:]
        taps = {"in_conv": self.in_conv(x_NCHW)}
        skips = [taps["in_conv"]]
        for level, down in enumerate(self.down_blocks, start=1):
            taps[f"down_{level}"] = down(skips[-1])
            skips.append(taps[f"down_{level}"])
        taps["bottleneck"] = self.self_attn(self.mid_conv(skips[-1]))
        spatial = taps["bottleneck"]
        for up, skip in zip(self.up_blocks, skips[-2::-1], strict=True):
            spatial = up(spatial, skip)
        luma_N1HW = (x_NCHW * self.luma).sum(dim=1, keepdim=True)
        patch = F.interpolate(self.patch_reduce(taps["bottleneck"]), (height, width), mode="nearest")
        views = {
            "spatial": spatial,
            "gradient": self.grad_conv(_gradients(luma_N1HW)),
            "frequency": self._frequency(luma_N1HW),
            "patch": self.patch_upsample(patch),
        }
        taps |= views
        taps["fused"] = self.attention_fusion(list(views.values()))
        taps["logits"] = self.out_conv(taps["fused"])
        return taps

    def _frequency(self, luma_N1HW: Tensor) -> Tensor:
        features = self.freq_proc(_log_spectrum(luma_N1HW).to(luma_N1HW.dtype))
        if self.pool_frequency:
            return features.mean(dim=(2, 3), keepdim=True).expand_as(features)
        return features


def _gradients(luma_N1HW: Tensor) -> Tensor:
    """Forward differences to the right and downwards, `(n, 2, h, w)`; the last of each is repeated."""
    right = F.pad(luma_N1HW.diff(dim=3), (0, 1, 0, 0), mode="replicate")
    down = F.pad(luma_N1HW.diff(dim=2), (0, 0, 0, 1), mode="replicate")
    return torch.cat([right, down], dim=1)


def _log_spectrum(luma_N1HW: Tensor) -> Tensor:
    """Logarithm of the magnitudes of the orthonormal Fourier transform, zero frequency in the middle.

    0.5 log(|F|^2 + floor^2) instead of the original log(|F| + 1e-8): equal to 1e-4 where |F| exceeds 70
    floors, smooth at zero.
    """
    spectrum = torch.view_as_real(torch.fft.fft2(luma_N1HW.float(), norm="ortho"))
    power = spectrum.square().sum(dim=-1) + SPECTRUM_FLOOR**2
    return 0.5 * torch.fft.fftshift(power.log(), dim=(2, 3))


_INPUT = "in_conv.parametrizations.weight.original"
_UP = "up_blocks.0.magic_upsample.sharpen.conv_h.weight"


@recognises(lambda weights: _INPUT in weights and "attention_fusion.attention_conv.0.bias" in weights)
def _infer(weights: Weights) -> Guess:
    width, channels = weights[_INPUT].shape[:2]
    halvings = sum(name.startswith("down_blocks.") and name.endswith("original") for name in weights)
    multiples = tuple(
        weights[f"down_blocks.{level}.0.parametrizations.weight.original"].shape[0] // width
        for level in range(halvings)
    )
    options = {"num_feat": width, "ch_mult": multiples, "num_in_ch": channels}
    return Guess("munet", options, assumed={"slope": 0.2, "pool_frequency": False})


@recognises(lambda weights: "in_conv.weight" in weights and _UP in weights)
def _refuse_first_version(_: Weights) -> Guess:
    raise ConfigError("MUNet of November 2025, a plain U-Net under the same name, not supported")
