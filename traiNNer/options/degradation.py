"""Options of the degradation chain, and its presets.

Defaults of the fields are Real-ESRGAN's (x4). A preset says what differs; what a file says wins over it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from traiNNer.options.section import Section


def _rising(value: list[Any]) -> list[Any]:
    if value[0] > value[1]:
        raise PydanticCustomError("rising", "should be [smallest, largest]")
    return value


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


_Pair = Field(min_length=2, max_length=2)
_Rising = AfterValidator(_rising)
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Weight: TypeAlias = Annotated[float, Field(ge=0)]
Weights: TypeAlias = Annotated[list[Weight], Field(min_length=1)]
Factors: TypeAlias = Annotated[list[Annotated[float, Field(gt=0, le=8)]], _Pair, _Rising]
Positive: TypeAlias = Annotated[list[Annotated[float, Field(gt=0, le=100)]], _Pair, _Rising]
Levels: TypeAlias = Annotated[list[Annotated[float, Field(ge=0, le=255)]], _Pair, _Rising]
Strengths: TypeAlias = Annotated[list[Weight], _Pair, _Rising]
Quality: TypeAlias = Annotated[list[Annotated[float, Field(ge=1, le=100)]], _Pair, _Rising]
Shares: TypeAlias = Annotated[list[Share], _Pair, _Rising]
_Side = Annotated[int, BeforeValidator(_whole), Field(ge=3, le=101)]
Sides: TypeAlias = Annotated[list[_Side], _Pair, _Rising]
Taps: TypeAlias = Annotated[
    list[Annotated[int, BeforeValidator(_whole), Field(ge=1, le=255)]], _Pair, _Rising
]
Steps: TypeAlias = Annotated[
    list[Annotated[int, BeforeValidator(_whole), Field(ge=2, le=256)]], _Pair, _Rising
]
Kernel: TypeAlias = Literal[
    "iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"
]
Kernels: TypeAlias = Annotated[list[Kernel], Field(min_length=1)]
Mode: TypeAlias = Literal["area", "bilinear", "bicubic", "lanczos", "nearest-exact"]
Modes: TypeAlias = Annotated[list[Mode], Field(min_length=1)]
JpegChroma: TypeAlias = Literal["444", "422", "420", "411"]
Chroma: TypeAlias = Literal["422", "420", "411", "410"]
Codec: TypeAlias = Literal["mpeg2", "mpeg4", "h264", "hevc", "vp9"]
Preset: TypeAlias = Literal["weak", "medium", "strong", "realesrgan", "bsrgan", "redux"]

_KERNELS: list[Any] = ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
_KERNEL_PROB = [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
_MODES: list[Any] = ["area", "bilinear", "bicubic"]


class DegradationOptions(Section):
    """How low-quality images are made while training, from the ground truth alone."""

    preset: Preset = "realesrgan"
    """Values of the options that are not given. `weak`, `medium` and `strong` are what practitioners use;
    `realesrgan` and `bsrgan` those of the papers, `redux` those of traiNNer-redux's templates."""
    p_clean: Share = 0.0
    """Share of samples that are shrunk by bicubic and not degraded otherwise."""
    shuffle_prob: Share = 0.0
    """Share of samples whose stages come in a drawn order, as in BSRGAN."""
    dataroot_lq_prob: Share = 0.5
    """Share of samples of a `RealESRGANPairedDataset` that take the low-quality image of `dataroot_lq`."""

    gt_usm: bool = False
    """Make the low-quality image from sharpened ground truth (Real-ESRGAN's unsharp mask)."""
    l1_gt_usm: bool = False
    """Compare with sharpened ground truth in losses of pixels."""
    percep_gt_usm: bool = False
    """Compare with sharpened ground truth in the other losses that ask no discriminator."""
    gan_gt_usm: bool = False
    """Show the discriminator sharpened ground truth, and compare with it in losses that ask it."""
    thicklines_prob: Share = 0.0
    """Share of samples whose dark lines are thickened before anything else."""

    blur_prob: Share = 1.0
    """Share of samples that are blurred in the first pass."""
    blur_kernel_size: Annotated[int, BeforeValidator(_whole), Field(ge=3, le=101)] = 21
    """Largest side of a kernel, in pixels; caps `kernel_range`."""
    kernel_range: Sides = [7, 21]
    """Smallest and largest side of a kernel; odd sizes between them are drawn."""
    kernel_list: Kernels = _KERNELS
    """Kinds of kernels: Gaussian, generalised Gaussian and plateau, round (`iso`) and oblong (`aniso`)."""
    kernel_prob: Weights = _KERNEL_PROB
    """How often each of `kernel_list`."""
    sinc_prob: Share = 0.1
    """Share of kernels that are low-pass filters instead, which ring."""
    blur_sigma: Positive = [0.2, 3]
    """Standard deviation of kernels, in pixels of the ground truth."""
    betag_range: Positive = [0.5, 4]
    """Exponent of generalised Gaussians; half of them are below 1."""
    betap_range: Positive = [1, 2]
    """Exponent of plateaus; half of them are below 1 where the range allows."""
    resize_prob: Annotated[list[Weight], Field(min_length=3, max_length=3)] = [0.2, 0.7, 0.1]
    """How often the first resizing enlarges, shrinks, and keeps the size."""
    resize_range: Factors = [0.15, 1.5]
    """Factors of the first resizing, of the size of the ground truth."""
    resize_mode_list: Modes = _MODES
    """Ways of resizing; all but `nearest-exact` are antialiased."""
    resize_mode_prob: Weights = [1, 1, 1]
    """How often each of `resize_mode_list`."""
    gaussian_noise_prob: Share = 0.5
    """Share of Gaussian noise in the first pass; the rest is Poisson."""
    noise_range: Levels = [1, 30]
    """Standard deviation of Gaussian noise, in levels of 255."""
    poisson_scale_range: Strengths = [0.05, 3]
    """Factor on Poisson noise of 256 quanta at white."""
    gray_noise_prob: Share = 0.4
    """Share of noise that is the same in all channels."""
    jpeg_prob: Share = 1.0
    """Share of samples that are compressed in the first pass."""
    jpeg_range: Quality = [30, 95]
    """Quality of JPEG in the first pass."""

    blur_prob2: Share = 0.8
    """As `blur_prob`, in the second pass; `second_blur_prob` means the same."""
    blur_kernel_size2: Annotated[int, BeforeValidator(_whole), Field(ge=3, le=101)] = 21
    """As `blur_kernel_size`."""
    kernel_range2: Sides = [7, 21]
    """As `kernel_range`."""
    kernel_list2: Kernels = _KERNELS
    """As `kernel_list`."""
    kernel_prob2: Weights = _KERNEL_PROB
    """As `kernel_prob`."""
    sinc_prob2: Share = 0.1
    """As `sinc_prob`."""
    blur_sigma2: Positive = [0.2, 1.5]
    """As `blur_sigma`, in pixels of what the first pass left."""
    betag_range2: Positive = [0.5, 4]
    """As `betag_range`."""
    betap_range2: Positive = [1, 2]
    """As `betap_range`."""
    resize_prob2: Annotated[list[Weight], Field(min_length=3, max_length=3)] = [0.3, 0.4, 0.3]
    """As `resize_prob`."""
    resize_range2: Factors = [0.3, 1.2]
    """As `resize_range`, of the size of the low-quality image."""
    resize_mode_list2: Modes = _MODES
    """As `resize_mode_list`."""
    resize_mode_prob2: Weights = [1, 1, 1]
    """As `resize_mode_prob`."""
    gaussian_noise_prob2: Share = 0.5
    """As `gaussian_noise_prob`."""
    noise_range2: Levels = [1, 25]
    """As `noise_range`."""
    poisson_scale_range2: Strengths = [0.05, 2.5]
    """As `poisson_scale_range`."""
    gray_noise_prob2: Share = 0.4
    """As `gray_noise_prob`."""
    jpeg_prob2: Share = 1.0
    """As `jpeg_prob`, at the end."""
    jpeg_range2: Quality = [30, 95]
    """As `jpeg_range`, at the end."""
    resize_mode_list3: Modes = _MODES
    """Ways of resizing to the size of the low-quality image."""
    resize_mode_prob3: Weights = [1, 1, 1]
    """How often each of `resize_mode_list3`."""
    final_sinc_prob: Share = 0.8
    """Share of samples under a low-pass filter at the end."""
    final_kernel_range: Sides = [7, 21]
    """Smallest and largest side of that filter."""

    poisson_levels: Literal["full", "content"] = "full"
    """Quanta of Poisson noise at white: 256, or as many as the patch has distinct values (Real-ESRGAN's rule, by
    which flat patches get many times the noise)."""
    noise_keeps_mean: bool = True
    """Limit noise near black and white so that it keeps the mean; false: clip it, as others do."""
    correlated_noise_prob: Share = 0.0
    """Share of Gaussian colour noise whose channels depend on each other (BSRGAN)."""
    jpeg_chroma_list: Annotated[list[JpegChroma], Field(min_length=1)] = ["420"]
    """Resolutions of chroma in JPEG, evenly drawn."""
    webp_prob: Share = 0.0
    """Share of compressions in the first pass by WebP instead of JPEG."""
    webp_range: Quality = [30, 95]
    """Quality of WebP in the first pass."""
    webp_prob2: Share = 0.0
    """As `webp_prob`, at the end."""
    webp_range2: Quality = [30, 95]
    """As `webp_range`, at the end."""
    video_prob: Share = 0.0
    """Share of compressions at the end by a video codec; needs the extra `video` (PyAV)."""
    video_codec_list: Annotated[list[Codec], Field(min_length=1)] = ["mpeg2", "mpeg4", "h264", "hevc", "vp9"]
    """Video codecs, evenly drawn."""
    video_quality_range: Shares = [0, 1]
    """Quality of video, 0 (worst) to 1."""
    halo_prob: Share = 0.0
    """Share of over-sharpened samples."""
    halo_amount_range: Levels = [0.3, 1.5]
    """How much is added of the difference from a blurred copy."""
    halo_sigma_range: Positive = [0.6, 2]
    """Standard deviation of that blur, in pixels of the low-quality image."""
    chroma_prob: Share = 0.0
    """Share of samples whose chroma is subsampled without compression."""
    chroma_list: Annotated[list[Chroma], Field(min_length=1)] = ["420", "422"]
    """Resolutions of that chroma, evenly drawn."""
    dither_prob: Share = 0.0
    """Share of samples with few levels a channel, dithered."""
    dither_list: Annotated[list[Literal["bayer", "noise"]], Field(min_length=1)] = ["bayer", "noise"]
    """Patterns of dithering, evenly drawn."""
    dither_levels_range: Steps = [4, 32]
    """Levels a channel of dithered samples."""
    lq_usm: bool = False
    """Sharpen the finished low-quality image (traiNNer-redux)."""
    lq_usm_radius_range: Taps = [1, 25]
    """Taps of the Gaussian of that sharpening."""


_FOUR_MODES = ["bilinear", "bicubic", "nearest-exact", "lanczos"]
_GENTLE: dict[str, Any] = {
    "blur_prob": 0.8, "blur_prob2": 0.3, "sinc_prob": 0.05, "sinc_prob2": 0.05, "final_sinc_prob": 0.3,
    "gray_noise_prob": 0.3, "gray_noise_prob2": 0.3,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "realesrgan": {},
    "weak": _GENTLE | {
        "blur_prob": 0.5, "blur_prob2": 0.1, "blur_sigma": [0.2, 1], "blur_sigma2": [0.2, 0.6],
        "final_sinc_prob": 0.1, "resize_range": [0.85, 1.25], "resize_range2": [0.85, 1.25],
        "noise_range": [0, 1], "noise_range2": [0, 1], "poisson_scale_range": [0, 0.1],
        "poisson_scale_range2": [0, 0.1], "jpeg_range": [85, 100], "jpeg_range2": [85, 100],
    },
    "medium": _GENTLE | {
        "blur_sigma": [0.2, 2], "blur_sigma2": [0.2, 1], "resize_range": [0.5, 1.5],
        "resize_range2": [0.6, 1.2], "noise_range": [0, 2], "noise_range2": [0, 2],
        "poisson_scale_range": [0, 0.25], "poisson_scale_range2": [0, 0.25],
        "jpeg_range": [60, 95], "jpeg_range2": [40, 95],
    },
    "strong": _GENTLE | {
        "blur_prob": 1.0, "blur_prob2": 0.5, "blur_sigma": [0.2, 3], "blur_sigma2": [0.2, 1.5],
        "final_sinc_prob": 0.5, "resize_range": [0.3, 1.5], "resize_range2": [0.4, 1.2],
        "noise_range": [0, 4], "noise_range2": [0, 4], "poisson_scale_range": [0, 0.5],
        "poisson_scale_range2": [0, 0.5], "jpeg_range": [50, 95], "jpeg_range2": [30, 95],
    },
    "bsrgan": {
        "shuffle_prob": 1.0, "kernel_list": ["iso", "aniso"], "kernel_prob": [1, 1],
        "kernel_list2": ["iso", "aniso"], "kernel_prob2": [1, 1], "sinc_prob": 0, "sinc_prob2": 0,
        "blur_prob2": 1.0, "blur_sigma": [0.1, 2.8], "blur_sigma2": [0.1, 2.8],
        "resize_prob": [0, 0.75, 0.25], "resize_range": [0.125, 1], "gaussian_noise_prob": 1,
        "noise_range": [2, 25], "correlated_noise_prob": 0.33, "gaussian_noise_prob2": 0,
        "poisson_scale_range2": [0.05, 1], "jpeg_prob": 0.9, "jpeg_range": [30, 95], "jpeg_range2": [30, 95],
        "final_sinc_prob": 0,
    },
    "redux": {
        "blur_prob": 0, "blur_prob2": 0, "blur_kernel_size": 17, "blur_kernel_size2": 17,
        "kernel_range": [5, 17], "kernel_range2": [5, 17], "final_kernel_range": [5, 17], "sinc_prob": 0,
        "sinc_prob2": 0, "final_sinc_prob": 0, "blur_sigma": [0.2, 2], "blur_sigma2": [0.2, 1],
        "resize_range": [0.4, 1.5], "resize_range2": [0.6, 1.2], "resize_mode_list": _FOUR_MODES,
        "resize_mode_prob": [1, 1, 1, 1], "resize_mode_list2": _FOUR_MODES, "resize_mode_prob2": [1, 1, 1, 1],
        "resize_mode_list3": _FOUR_MODES, "resize_mode_prob3": [1, 1, 1, 1], "gaussian_noise_prob": 0,
        "gaussian_noise_prob2": 0, "noise_range": [0, 0], "noise_range2": [0, 0],
        "poisson_scale_range": [0, 0], "poisson_scale_range2": [0, 0], "gray_noise_prob": 0,
        "gray_noise_prob2": 0, "jpeg_range": [75, 95], "jpeg_range2": [75, 95],
    },
}  # fmt: skip
"""What differs from the defaults of the fields."""
