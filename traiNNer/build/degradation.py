"""From the options of the degradation chain to the chain."""

from __future__ import annotations

from typing import Any, cast

from traiNNer.data.degradations.chain import (
    BlurSettings,
    Chain,
    ChainSettings,
    EffectSettings,
    FinalSettings,
    Pass,
    ResizeSettings,
)
from traiNNer.data.degradations.compression import CompressionSettings
from traiNNer.data.degradations.effects import ChromaSettings, DitherSettings, HaloSettings, UsmSettings
from traiNNer.data.degradations.kernels import KernelMix
from traiNNer.data.degradations.noise import NoiseSettings
from traiNNer.data.degradations.video import has_video
from traiNNer.options import DatasetOptions, DegradationOptions, Options
from traiNNer.options.degradation import PRESETS
from traiNNer.registry import ConfigError


def build_chain(options: DegradationOptions) -> Chain:
    """The chain of a run.

    Raises:
        ConfigError: If video codecs are asked for and PyAV is missing.
    """
    if options.video_prob and not has_video():
        raise ConfigError("degradation.video_prob: needs PyAV: pip install av")
    values = options.model_dump()
    video = {
        "video_prob": options.video_prob,
        "video_codecs": tuple(options.video_codec_list),
        "video_quality": _pair(options.video_quality_range),
    }
    return Chain(
        ChainSettings(
            _pass(values, "", {}),
            _pass(values, "2", video),
            FinalSettings(
                tuple(options.resize_mode_list3),
                tuple(options.resize_mode_prob3),
                options.final_sinc_prob,
                _pair(options.final_kernel_range),
            ),
            _effects(options),
            shuffle_prob=options.shuffle_prob,
            clean_prob=options.p_clean,
        )
    )


def chain_options(options: Options, data: DatasetOptions) -> DegradationOptions:
    """By what a set is degraded: its own preset, or the section of the run."""
    common = options.degradation or DegradationOptions()
    if data.degradation_preset is None:
        return common
    preset = data.degradation_preset
    return DegradationOptions(
        **PRESETS[preset] | {"preset": preset, "dataroot_lq_prob": common.dataroot_lq_prob}
    )


def _pass(values: dict[str, Any], suffix: str, video: dict[str, Any]) -> Pass:
    """One of the two passes; the options of the second end with 2."""

    def of(key: str) -> Any:
        value = values[key + suffix]
        return tuple(value) if isinstance(value, list) else value

    least, most = of("kernel_range")
    most = min(most, of("blur_kernel_size"))
    return Pass(
        BlurSettings(
            of("blur_prob"),
            KernelMix(
                of("kernel_list"),
                of("kernel_prob"),
                (min(least, most), most),
                of("blur_sigma"),
                of("betag_range"),
                of("betap_range"),
                of("sinc_prob"),
            ),
        ),
        ResizeSettings(of("resize_prob"), of("resize_range"), of("resize_mode_list"), of("resize_mode_prob")),
        NoiseSettings(
            of("gaussian_noise_prob"),
            of("noise_range"),
            of("poisson_scale_range"),
            of("gray_noise_prob"),
            correlated_prob=values["correlated_noise_prob"],
            content_levels=values["poisson_levels"] == "content",
            keep_mean=values["noise_keeps_mean"],
        ),
        CompressionSettings(
            of("jpeg_prob"),
            of("jpeg_range"),
            tuple(values["jpeg_chroma_list"]),
            of("webp_prob"),
            of("webp_range"),
            **video,
        ),
    )


def _effects(options: DegradationOptions) -> EffectSettings:
    return EffectSettings(
        options.gt_usm,
        options.thicklines_prob,
        HaloSettings(options.halo_prob, _pair(options.halo_amount_range), _pair(options.halo_sigma_range)),
        ChromaSettings(options.chroma_prob, tuple(options.chroma_list)),
        DitherSettings(options.dither_prob, tuple(options.dither_list), _pair(options.dither_levels_range)),
        UsmSettings(options.lq_usm, _pair(options.lq_usm_radius_range)),
    )


def _pair(values: list[Any]) -> tuple[Any, Any]:
    return cast("tuple[Any, Any]", tuple(values))
