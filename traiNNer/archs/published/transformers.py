"""Transformers: SwinIR and what came after it. Sizes are those of the papers and their training files."""

from __future__ import annotations

import math
from typing import Any

from traiNNer.archs import OnnxForm
from traiNNer.archs.published.family import Family, Given, always, enroll

_RESIDUAL = ("1conv", "3conv")
_DROPS = {"drop_rate": 0.0, "attn_drop_rate": 0.0, "drop_path_rate": 0.1}


def _window(options: Given) -> int:
    return options["window_size"]


def _swin_margin(options: Given) -> int:
    """How far shifted windows see: one window for the first block of a group, half of one for each other.

    A group ends with one or two convolutions of 3x3; before the groups is one, after them two and the upsampler.
    """
    window, ends = options["window_size"], 2 if options["resi_connection"] == "3conv" else 1
    groups = (window - 1 + (depth - 1) * (window // 2) + ends for depth in options["depths"])
    return sum(groups) + 1 + ends + 5


_SWIN = {
    "in_chans": 3,
    "img_size": 64,
    "embed_dim": 180,
    "depths": (6,) * 6,
    "num_heads": (6,) * 6,
    "window_size": 8,
    "mlp_ratio": 2.0,
    "upsampler": "pixelshuffle",
    "resi_connection": "1conv",
    "img_range": 1.0,
    "qkv_bias": True,
    "ape": False,
    "patch_norm": True,
    **_DROPS,
}
_SWIN_PRESETS: dict[str, dict[str, Any]] = {
    "s": {"embed_dim": 60, "depths": (6,) * 4, "num_heads": (6,) * 4, "upsampler": "pixelshuffledirect"},
    "m": {},
    "l": {
        "embed_dim": 240,
        "depths": (6,) * 9,
        "num_heads": (8,) * 9,
        "upsampler": "nearest+conv",
        "resi_connection": "3conv",
    },
}

enroll(
    Family(
        "swinir",
        "SwinIR",
        "SwinIR: attention in shifted windows. J. Liang et al., ICCVW 2021 (arXiv 2108.10257).",
        {**_SWIN, "start_unshuffle": 1},
        choices={
            "upsampler": ("pixelshuffle", "pixelshuffledirect", "nearest+conv", ""),
            "resi_connection": _RESIDUAL,
        },
        least=16,
        multiple=_window,
        margin=lambda options: None if options["start_unshuffle"] > 1 else _swin_margin(options),
        blocks=("SwinTransformerBlock",),
        asks=("img_range",),
        presets={f"swinir_{size}": changes for size, changes in _SWIN_PRESETS.items()}
        | {"swinir_m": {"img_size": 48}},
        onnx=OnnxForm("trace", "size"),
    )
)
enroll(
    Family(
        "swin2sr",
        "Swin2SR",
        "Swin2SR: SwinIR with the attention of Swin V2. M. Conde et al., ECCVW 2022 (arXiv 2209.11345).",
        _SWIN,
        choices={
            "upsampler": (
                "pixelshuffle", "pixelshuffledirect", "pixelshuffle_aux", "pixelshuffle_hf", "nearest+conv", "",
            ),
            "resi_connection": _RESIDUAL,
        },
        least=16,
        multiple=_window,
        margin=_swin_margin,
        blocks=("SwinTransformerBlock",),
        asks=("img_range",),
        presets={f"swin2sr_{size}": changes for size, changes in _SWIN_PRESETS.items()},
        onnx=OnnxForm("trace", "size"),
    )
)  # fmt: skip
enroll(
    Family(
        "hat",
        "HAT",
        "HAT: windows, channel attention and overlapping windows. X. Chen et al., CVPR 2023 (arXiv 2205.04437).",
        {
            "in_chans": 3,
            "img_size": 64,
            "embed_dim": 180,
            "depths": (6,) * 6,
            "num_heads": (6,) * 6,
            "window_size": 16,
            "compress_ratio": 3,
            "squeeze_factor": 30,
            "conv_scale": 0.01,
            "overlap_ratio": 0.5,
            "mlp_ratio": 2.0,
            "upsampler": "pixelshuffle",
            "resi_connection": "1conv",
            "num_feat": 64,
            "img_range": 1.0,
            "qkv_bias": True,
            "ape": False,
            "patch_norm": True,
            **_DROPS,
        },
        choices={"upsampler": ("pixelshuffle",), "resi_connection": ("1conv", "identity")},
        least=16,
        multiple=_window,
        blocks=("HAB", "OCAB"),
        asks=("img_range", "conv_scale"),
        presets={
            "hat_s": {"compress_ratio": 24, "squeeze_factor": 24, "embed_dim": 144},
            "hat_m": {},
            "hat_l": {"depths": (6,) * 12, "num_heads": (6,) * 12},
        },
        onnx=OnnxForm("trace", "size"),
    )
)
enroll(
    Family(
        "drct",
        "DRCT",
        "DRCT: dense connections between Swin blocks. C.-C. Hsu et al., CVPRW 2024 (arXiv 2404.00722).",
        {
            "in_chans": 3,
            "img_size": 64,
            "embed_dim": 180,
            "depths": (6,) * 6,
            "num_heads": (6,) * 6,
            "window_size": 16,
            "mlp_ratio": 2.0,
            "gc": 32,
            "upsampler": "pixelshuffle",
            "resi_connection": "1conv",
            "img_range": 1.0,
            "qkv_bias": True,
            "ape": False,
            "patch_norm": True,
            **_DROPS,
        },
        choices={"upsampler": ("pixelshuffle",), "resi_connection": ("1conv", "identity")},
        least=16,
        multiple=lambda o: math.lcm(16, o["window_size"]),
        # five blocks a group, every second one shifted
        margin=lambda o: len(o["depths"]) * (3 * o["window_size"] - 1) + 7,
        blocks=("SwinTransformerBlock",),
        asks=("img_range",),
        presets={
            "drct_l": {"depths": (6,) * 12, "num_heads": (6,) * 12},
            "drct_xl": {"depths": (6,) * 14, "num_heads": (6,) * 14},
        },
        onnx=OnnxForm("trace", "size"),
    )
)
_DUAL = {
    "in_chans": 3,
    "img_size": 64,
    "embed_dim": 180,
    "depth": (6,) * 6,
    "num_heads": (6,) * 6,
    "split_size": (8, 32),
    "resi_connection": "1conv",
    "img_range": 1.0,
    "qkv_bias": True,
    **_DROPS,
}
enroll(
    Family(
        "dat",
        "DAT",
        "DAT: attention over windows and over channels in turn. Z. Chen et al., ICCV 2023 (arXiv 2308.03364).",
        {**_DUAL, "expansion_factor": 4.0, "upsampler": "pixelshuffle"},
        choices={"upsampler": ("pixelshuffle", "pixelshuffledirect"), "resi_connection": _RESIDUAL},
        least=16,
        multiple=lambda o: max(o["split_size"]),
        blocks=("DATB",),
        trains_alone=False,
        asks=("img_range",),
        presets={
            "dat_2": {"expansion_factor": 2.0},
            "dat_s": {"expansion_factor": 2.0, "split_size": (8, 16)},
            "dat_light": {
                "expansion_factor": 2.0,
                "depth": (18,),
                "embed_dim": 60,
                "num_heads": (6,),
                "resi_connection": "3conv",
                "upsampler": "pixelshuffledirect",
            },
        },
        pads=always,
        onnx=OnnxForm("trace", "size"),
    )
)
enroll(
    Family(
        "rgt",
        "RGT",
        "RGT: windows and a coarse attention over the whole image. Z. Chen et al., ICLR 2024 (arXiv 2303.06373).",
        {**_DUAL, "depth": (6,) * 8, "num_heads": (6,) * 8, "mlp_ratio": 2.0, "c_ratio": 0.5},
        choices={"resi_connection": _RESIDUAL},
        least=16,
        multiple=lambda o: max(o["split_size"]),
        blocks=("Block",),
        asks=("img_range",),
        presets={"rgt_s": {"depth": (6,) * 6, "num_heads": (6,) * 6}},
        pads=always,
        onnx=OnnxForm("trace", "size"),
    )
)
enroll(
    Family(
        "atd",
        "ATD",
        "ATD: windows, a dictionary, categories of pixels. L. Zhang et al., CVPR 2024 (arXiv 2401.08209).",
        {
            "in_chans": 3,
            "img_size": 64,
            "embed_dim": 210,
            "depths": (6,) * 6,
            "num_heads": (6,) * 6,
            "window_size": 16,
            "category_size": 256,
            "num_tokens": 128,
            "reducted_dim": 20,
            "convffn_kernel_size": 5,
            "mlp_ratio": 2.0,
            "upsampler": "pixelshuffle",
            "resi_connection": "1conv",
            "img_range": 1.0,
            "norm": True,
            "qkv_bias": True,
            "ape": False,
            "patch_norm": True,
        },
        choices={
            "upsampler": ("pixelshuffle", "pixelshuffledirect", "nearest+conv", ""),
            "resi_connection": _RESIDUAL,
        },
        least=16,
        multiple=_window,
        blocks=("ATDTransformerLayer",),
        asks=("category_size", "img_range"),
        presets={
            "atd_light": {
                "embed_dim": 48,
                "depths": (6,) * 4,
                "num_heads": (4,) * 4,
                "category_size": 128,
                "num_tokens": 64,
                "reducted_dim": 8,
                "convffn_kernel_size": 7,
                "mlp_ratio": 1.0,
                "upsampler": "pixelshuffledirect",
            }
        },
        pads=always,
        onnx=OnnxForm(refused="torch has no ONNX for the sorting of its pixels"),
    )
)
