"""Networks that keep the size: denoising, deblurring, JPEG removal, low light. Their scale is 1."""

from __future__ import annotations

from traiNNer.archs import OnnxForm
from traiNNer.archs.published.family import Family, always, enroll

_SAME = (1,)

enroll(
    Family(
        "scunet",
        "SCUNet",
        "SCUNet: Swin blocks and convolutions in a U-Net. K. Zhang et al., 2022 (arXiv 2203.13278).",
        {"in_nc": 3, "config": (4,) * 7, "dim": 64, "drop_path_rate": 0.0},
        factor="",
        scales=_SAME,
        least=40,
        multiple=lambda o: 64,
        blocks=("ConvTransBlock",),
        pads=always,
    )
)
enroll(
    Family(
        "nafnet",
        "NAFNet",
        "NAFNet: a U-Net without activation functions. L. Chen et al., ECCV 2022 (arXiv 2204.04676).",
        {
            "img_channel": 3,
            "width": 32,
            "middle_blk_num": 12,
            "enc_blk_nums": (2, 2, 4, 8),
            "dec_blk_nums": (2, 2, 2, 2),
        },
        factor="",
        scales=_SAME,
        multiple=lambda o: 2 ** len(o["enc_blk_nums"]),
        blocks=("NAFBlock",),
        pads=always,
    )
)
enroll(
    Family(
        "dncnn",
        "DnCNN",
        "DnCNN: a chain of convolutions that gives the noise. K. Zhang et al., TIP 2017 (arXiv 1608.03981).",
        {"in_nc": 3, "out_nc": 3, "nc": 64, "nb": 20, "act_mode": "R", "mode": "DnCNN"},
        choices={"mode": ("DnCNN", "FDnCNN")},
        factor="",
        scales=_SAME,
        margin=lambda o: o["nb"],
    )
)
enroll(
    Family(
        "drunet",
        "DRUNet",
        "DRUNet: a U-Net of residual blocks. K. Zhang et al., TPAMI 2021 (arXiv 2008.13751).",
        {"in_nc": 3, "out_nc": 3, "nc": (64, 128, 256, 512), "nb": 4, "act_mode": "R"},
        factor="",
        scales=_SAME,
        multiple=lambda o: 8,
    )
)
enroll(
    Family(
        "fbcnn",
        "FBCNN",
        "FBCNN: removes JPEG artifacts by an estimated quality. J. Jiang et al., ICCV 2021 (arXiv 2109.14573).",
        {"in_nc": 3, "out_nc": 3, "nc": (64, 128, 256, 512), "nb": 4, "act_mode": "R"},
        factor="",
        scales=_SAME,
        multiple=lambda o: 8,
        pads=always,
    )
)
enroll(
    Family(
        "kbnet_s",
        "KBNet",
        "KBNet-s: convolutions whose kernels are mixed for each pixel. Y. Zhang et al., 2023 (arXiv 2303.02881).",
        {
            "img_channel": 3,
            "width": 64,
            "middle_blk_num": 12,
            "enc_blk_nums": (2, 2, 4, 8),
            "dec_blk_nums": (2, 2, 2, 2),
            "lightweight": False,
        },
        network="KBNet_s",
        factor="",
        scales=_SAME,
        multiple=lambda o: 2 ** len(o["enc_blk_nums"]),
        blocks=("KBBlock_s",),
        autocasts=False,
        pads=always,
    )
)
enroll(
    Family(
        "retinexformer",
        "RetinexFormer",
        "RetinexFormer: lights up dark photographs. Y. Cai et al., ICCV 2023 (arXiv 2303.06705).",
        {"in_channels": 3, "out_channels": 3, "n_feat": 40, "stage": 1, "num_blocks": (1, 2, 2)},
        factor="",
        scales=_SAME,
        multiple=lambda o: 8,
        blocks=("IGAB",),
    )
)
enroll(
    Family(
        "fftformer",
        "FFTformer",
        "FFTformer: deblurs by attention in the frequency domain. L. Kong et al., CVPR 2023 (arXiv 2211.12250).",
        {
            "inp_channels": 3,
            "out_channels": 3,
            "dim": 48,
            "num_blocks": (6, 6, 12),
            "num_refinement_blocks": 4,
            "ffn_expansion_factor": 3,
            "bias": False,
        },
        factor="",
        scales=_SAME,
        multiple=lambda o: 32,
        blocks=("TransformerBlock",),
        idle=r"^reduce_chan_level2\.",
        onnx=OnnxForm("export", "size"),
    )
)
enroll(
    Family(
        "uformer",
        "Uformer",
        "Uformer: a U-shaped transformer for square images. Z. Wang et al., CVPR 2022 (arXiv 2106.03106).",
        {
            "in_chans": 3,
            "img_size": 256,
            "embed_dim": 32,
            "depths": (2,) * 9,
            "num_heads": (1, 2, 4, 8, 16, 16, 8, 4, 2),
            "win_size": 8,
            "mlp_ratio": 4.0,
            "qkv_bias": True,
            "drop_rate": 0.0,
            "attn_drop_rate": 0.0,
            "drop_path_rate": 0.1,
        },
        factor="",
        scales=_SAME,
        least=128,
        multiple=lambda o: 128,
        square=True,
        blocks=("LeWinTransformerBlock",),
        onnx=OnnxForm("trace", "nothing"),
    )
)
