"""Convolutional networks: PLKSR, MoSR, MoESR, SAFMN, RCAN, SeemoRe, RealCUGAN, SwiftSRGAN, MM-RealSR."""

from __future__ import annotations

from typing import Any

from traiNNer.archs import OnnxForm
from traiNNer.archs.published.family import Family, Given, enroll


def _plksr_margin(options: Given) -> int:
    mixer = 2 if options["ccm_type"] == "DCCM" else 1
    return options["n_blocks"] * (mixer + options["kernel_size"] // 2 + int(options["use_ea"])) + 2


enroll(
    Family(
        "plksr",
        "PLKSR",
        "PLKSR: a quarter of the channels see a 17x17 neighbourhood. D. Lee et al., 2024 (arXiv 2404.11848).",
        {
            "dim": 64,
            "n_blocks": 28,
            "ccm_type": "DCCM",
            "kernel_size": 17,
            "split_ratio": 0.25,
            "lk_type": "PLK",
            "use_max_kernel": False,
            "sparse_kernels": (5, 5, 5, 5),
            "sparse_dilations": (1, 2, 3, 4),
            "with_idt": False,
            "use_ea": True,
        },
        choices={"ccm_type": ("CCM", "ICCM", "DCCM"), "lk_type": ("PLK", "SparsePLK", "RectSparsePLK")},
        factor="upscaling_factor",
        margin=lambda o: _plksr_margin(o) if o["lk_type"] == "PLK" else None,
        blocks=("PLKBlock",),
        presets={"plksr_tiny": {"n_blocks": 12, "kernel_size": 13, "use_ea": False}},
    )
)
_MOSR_UPSAMPLERS = {"pixelshuffle": "ps", "dysample": "dys", "geoensemblepixelshuffle": "gps"}


def _mosr_arguments(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "upsampler": _MOSR_UPSAMPLERS[options["upsampler"]]}


def _mosr_options(arguments: dict[str, Any]) -> dict[str, Any]:
    names = {short: name for name, short in _MOSR_UPSAMPLERS.items()}
    return {**arguments, "upsampler": names[arguments["upsampler"]]}


enroll(
    Family(
        "mosr",
        "MoSR",
        "MoSR: gated convolutions after MambaOut, of the neosr community, 2024.",
        {
            "in_ch": 3,
            "out_ch": 3,
            "n_block": 24,
            "dim": 64,
            "upsampler": "pixelshuffle",
            "drop_path": 0.0,
            "kernel_size": 7,
            "expansion_ratio": 1.5,
            "conv_ratio": 1.0,
        },
        choices={"upsampler": tuple(_MOSR_UPSAMPLERS)},
        margin=lambda o: (
            None if o["upsampler"] == "dysample" else o["n_block"] * (2 + o["kernel_size"] // 2) + 4
        ),
        blocks=("GatedCNNBlock",),
        foreign=_mosr_arguments,
        native=_mosr_options,
        presets={"mosr_t": {"n_block": 5, "dim": 48}},
    )
)
enroll(
    Family(
        "moesr",
        "MoESR",
        "MoESR: MoSR with groups that look at half the resolution, of the neosr community, 2025.",
        {
            "in_ch": 3,
            "out_ch": 3,
            "dim": 64,
            "n_blocks": 9,
            "n_block": 4,
            "expansion_factor": 2.65625,
            "expansion_msg": 1.5,
            "upsampler": "pixelshuffledirect",
            "upsample_dim": 64,
        },
        choices={
            "upsampler": ("conv", "pixelshuffledirect", "pixelshuffle", "nearest+conv", "dysample"),
        },
        factor="scale",
        least=2,
        multiple=lambda o: 2,
        margin=lambda o: (
            None if o["upsampler"] == "dysample" else o["n_blocks"] * (7 * o["n_block"] + 46) + 8
        ),
        blocks=("GatedCNNBlock",),
        presets={"moesr2": {}},
    )
)
enroll(
    Family(
        "safmn",
        "SAFMN",
        "SAFMN: features of four resolutions weigh the image. L. Sun et al., ICCV 2023 (arXiv 2302.13800).",
        {"dim": 36, "n_blocks": 8, "ffn_scale": 2.0},
        factor="upscaling_factor",
        multiple=lambda o: 8,
        margin=lambda o: 17 * o["n_blocks"] + 2,
        blocks=("AttBlock",),
        presets={"safmn_l": {"dim": 128, "n_blocks": 16}},
        onnx=OnnxForm("export"),
    )
)
enroll(
    Family(
        "rcan",
        "RCAN",
        "RCAN: residual groups with channel attention. Y. Zhang et al., ECCV 2018 (arXiv 1807.02758).",
        {
            "n_resgroups": 10,
            "n_resblocks": 20,
            "n_feats": 64,
            "n_colors": 3,
            "rgb_range": 255,
            "norm": True,
            "kernel_size": 3,
            "reduction": 16,
            "res_scale": 1.0,
            "act_mode": "relu",
            "unshuffle_mod": False,
        },
        factor="scale",
        multiple=lambda o: 4 // o["scale"] if o["unshuffle_mod"] and o["scale"] < 3 else 1,
        blocks=("RCAB",),
        presets={"rcan_unshuffle": {"unshuffle_mod": True}},
    )
)
enroll(
    Family(
        "seemore",
        "SeemoRe",
        "SeemoRe: experts of low rank, one asked a block. E. Zamfir et al., ICML 2024 (arXiv 2402.03412).",
        {
            "in_chans": 3,
            "num_experts": 3,
            "num_layers": 6,
            "embedding_dim": 36,
            "img_range": 1.0,
            "global_kernel_size": 11,
            "recursive": 2,
            "lr_space": "exp",
            "topk": 1,
        },
        choices={"lr_space": ("linear", "exp", "double")},
        factor="scale",
        least=16,
        idle=r"\.experts\.",
        asks=("img_range",),
        presets={"seemore_t": {}},
        onnx=OnnxForm("trace", "size"),
    )
)


def _cugan_arguments(options: dict[str, Any]) -> dict[str, Any]:
    scale, fast = options["scale"], options["fast"]
    if fast and scale != 2:
        raise ValueError(f"fast is for scale 2, not {scale}")
    own = {key: value for key, value in options.items() if key != "fast"}
    if fast:
        del own["pro"]
    return {**own, "network": "UpCunet2x_fast" if fast else f"UpCunet{scale}x"}


def _cugan_options(arguments: dict[str, Any]) -> dict[str, Any]:
    return {**arguments, "fast": arguments["network"] == "UpCunet2x_fast"}


enroll(
    Family(
        "realcugan",
        "RealCUGAN",
        "Real-CUGAN: two cascaded U-Nets, trained for animation by bilibili, 2022.",
        {"in_channels": 3, "out_channels": 3, "pro": False, "fast": False},
        factor="",
        scales=(2, 3, 4),
        least=40,
        multiple=lambda o: 4,
        pads=lambda o: not o["fast"],
        foreign=_cugan_arguments,
        native=_cugan_options,
    )
)
enroll(
    Family(
        "swiftsrgan",
        "SwiftSRGAN",
        "SwiftSRGAN: a generator of separable convolutions. K. Krishnan et al., 2021 (arXiv 2111.14320).",
        {"in_channels": 3, "num_channels": 64, "num_blocks": 16},
        factor="upscale_factor",
        scales=(2, 4, 8),
        idle=r"block2\.act|^convblock\.act",
    )
)
enroll(
    Family(
        "mmrealsr",
        "MMRealSR",
        "MM-RealSR: RRDBNet told by an estimated degradation. C. Mou et al., ECCV 2022 (arXiv 2207.05009).",
        {
            "num_in_ch": 3,
            "num_out_ch": 3,
            "num_feat": 64,
            "num_block": 23,
            "num_grow_ch": 32,
            "de_net_type": "DEResNet",
            "num_degradation": 2,
            "degradation_degree_actv": "sigmoid",
            "num_feats": (64, 128, 256, 512),
            "num_blocks": (2, 2, 2, 2),
            "downscales": (2, 2, 2, 1),
        },
        factor="scale",
        scales=(4,),
        least=16,
        blocks=("RRDB",),
    )
)
