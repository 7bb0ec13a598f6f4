"""More networks with attention: GRL, CRAFT, OmniSR, FDAT, DCTLSA, DITN."""

from __future__ import annotations

from typing import Any

from traiNNer.archs import OnnxForm
from traiNNer.archs.published.family import Family, always, enroll

_GRL_SMALL = {
    "embed_dim": 128,
    "depths": (4,) * 4,
    "num_heads_window": (2,) * 4,
    "num_heads_stripe": (2,) * 4,
    "local_connection": False,
}

enroll(
    Family(
        "grl",
        "GRL",
        "GRL: attention in windows, along stripes and over channels. Y. Li et al., CVPR 2023 (arXiv 2303.00748).",
        {
            "in_channels": 3,
            "out_channels": 3,
            "img_size": 64,
            "embed_dim": 180,
            "depths": (4, 4, 8, 8, 8, 4, 4),
            "num_heads_window": (3,) * 7,
            "num_heads_stripe": (3,) * 7,
            "window_size": 8,
            "stripe_size": (8, None),
            "stripe_groups": (None, 4),
            "stripe_shift": True,
            "mlp_ratio": 2.0,
            "upsampler": "pixelshuffle",
            "anchor_window_down_factor": 4,
            "local_connection": True,
            "qkv_proj_type": "linear",
            "anchor_proj_type": "avgpool",
            "anchor_one_stage": True,
            "out_proj_type": "linear",
            "conv_type": "1conv",
            "init_method": "n",
            "euclidean_dist": False,
            "img_range": 1.0,
            "qkv_bias": True,
            "drop_rate": 0.0,
            "attn_drop_rate": 0.0,
            "drop_path_rate": 0.1,
        },
        choices={
            "upsampler": ("pixelshuffle", "pixelshuffledirect", "nearest+conv", ""),
            "out_proj_type": ("linear", "conv2d"),
        },
        least=16,
        multiple=lambda o: max(o["window_size"], *(side or 0 for side in o["stripe_size"])),
        blocks=("EfficientMixAttnTransformerBlock",),
        asks=("window_size", "stripe_size", "img_range"),
        presets={
            "grl_b": {},
            "grl_s": _GRL_SMALL,
            "grl_t": {**_GRL_SMALL, "embed_dim": 64, "upsampler": "pixelshuffledirect"},
        },
        square=True,  # its stripes and anchors fit into each other at some other sizes only
        onnx=OnnxForm("trace", "nothing"),
    )
)
enroll(
    Family(
        "craft",
        "CRAFT",
        "CRAFT: high-frequency convolutions guide the attention. A. Li et al., ICCV 2023 (arXiv 2308.05022).",
        {
            "in_chans": 3,
            "window_size": 16,
            "embed_dim": 48,
            "depths": (2,) * 4,
            "num_heads": (6,) * 4,
            "split_size_0": 4,
            "split_size_1": 16,
            "mlp_ratio": 2.0,
            "resi_connection": "1conv",
            "img_range": 1.0,
            "qkv_bias": True,
        },
        choices={"resi_connection": ("1conv", "3conv")},
        least=16,
        multiple=lambda o: 16,
        blocks=("CRFB",),
        idle=r"\.pos\.",  # at this width positions are normalised over one channel
        asks=("img_range",),
        onnx=OnnxForm("trace", "size"),
    )
)
enroll(
    Family(
        "omnisr",
        "OmniSR",
        "OmniSR: attention over space, channels and grids. H. Wang et al., CVPR 2023 (arXiv 2304.10244).",
        {
            "num_in_ch": 3,
            "num_out_ch": 3,
            "num_feat": 64,
            "res_num": 5,
            "block_num": 1,
            "window_size": 8,
            "pe": True,
            "bias": True,
        },
        factor="up_scale",
        least=16,
        multiple=lambda o: o["window_size"],
        blocks=("OSA_Block",),
        presets={},
        pads=always,
    )
)


def _pattern(arguments: dict[str, Any]) -> dict[str, Any]:
    return {**arguments, "group_block_pattern": arguments["group_block_pattern"] or ("spatial", "channel")}


enroll(
    Family(
        "fdat",
        "FDAT",
        "FDAT: a fast dual-attention transformer of the neosr and traiNNer-redux communities, 2025.",
        {
            "num_in_ch": 3,
            "num_out_ch": 3,
            "embed_dim": 120,
            "num_groups": 4,
            "depth_per_group": 3,
            "num_heads": 4,
            "window_size": 8,
            "ffn_expansion_ratio": 2.0,
            "aim_reduction_ratio": 8,
            "group_block_pattern": ("spatial", "channel"),
            "mid_dim": 64,
            "upsampler_type": "transpose+conv",
            "unshuffle_mod": False,
            "drop_path_rate": 0.1,
            "img_range": 1.0,
        },
        choices={
            "upsampler_type": (
                "conv", "pixelshuffledirect", "pixelshuffle", "nearest+conv", "dysample", "transpose+conv",
                "lda", "pa_up",
            )
        },
        factor="scale",
        least=16,
        multiple=lambda o: o["window_size"],
        blocks=("SimplifiedDATBlock",),
        idle=r"\.inter\.(sg|cg)\.",
        native=_pattern,
        presets={
            "fdat_tiny": {
                "embed_dim": 96, "num_groups": 2, "depth_per_group": 2, "num_heads": 3,
                "ffn_expansion_ratio": 1.5, "drop_path_rate": 0.05,
            },
            "fdat_light": {
                "embed_dim": 108, "num_groups": 3, "depth_per_group": 2, "drop_path_rate": 0.08,
            },
            "fdat_medium": {},
            "fdat_large": {"embed_dim": 180, "depth_per_group": 4, "num_heads": 6},
            "fdat_xl": {"embed_dim": 180, "num_groups": 6, "depth_per_group": 6, "num_heads": 6},
        },
        pads=always,
    )
)  # fmt: skip
enroll(
    Family(
        "dctlsa",
        "DCTLSA",
        "DCTLSA: a transformer with local attention in a dense cascade. K. Zeng et al., 2023.",
        {"in_nc": 3, "out_nc": 3, "nf": 55, "num_head": 5},
        least=16,
        multiple=lambda o: 8,
        blocks=("SwinTransformerBlock",),
        pads=always,
        onnx=OnnxForm("trace", "size"),
    )
)
enroll(
    Family(
        "ditn",
        "DITN",
        "DITN: a transformer made for deployment. X. Liu et al., ACM MM 2023 (arXiv 2308.02794).",
        {
            "inp_channels": 3,
            "dim": 60,
            "ITL_blocks": 4,
            "SAL_blocks": 4,
            "UFONE_blocks": 1,
            "ffn_expansion_factor": 2,
            "bias": False,
            "LayerNorm_type": "WithBias",
            "patch_size": 8,
        },
        choices={"LayerNorm_type": ("WithBias", "BiasFree")},
        multiple=lambda o: o["patch_size"],
        blocks=("ITL", "SAL"),
        presets={"ditn_real": {}},
        onnx=OnnxForm("export"),
    )
)
