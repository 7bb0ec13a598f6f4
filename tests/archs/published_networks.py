"""Small instances of the networks of other authors, and how much of an image they need."""

import torch
from small_networks import noise

from traiNNer.archs import build_network
from traiNNer.archs.published import FAMILIES

SMALL = {
    "atd": {
        "embed_dim": 12, "depths": (2,), "num_heads": (2,), "window_size": 8, "category_size": 256,
        "num_tokens": 16, "reducted_dim": 4,
    },
    "craft": {"depths": (2,), "num_heads": (6,)},
    "dat": {"embed_dim": 64, "depth": (2,), "num_heads": (2,), "split_size": (8, 16), "expansion_factor": 2.0},
    "dctlsa": {"nf": 20, "num_head": 5},
    "ditn": {"dim": 12, "ITL_blocks": 1, "SAL_blocks": 1},
    "dncnn": {"nc": 8, "nb": 10},
    "drct": {"embed_dim": 16, "depths": (6,), "num_heads": (2,), "window_size": 8, "gc": 8},
    "drunet": {"nc": (8, 8, 8, 8), "nb": 2},
    "fbcnn": {"nc": (8, 8, 8, 512), "nb": 2},
    "fdat": {"embed_dim": 16, "num_groups": 1, "depth_per_group": 1, "num_heads": 2, "mid_dim": 16},
    "fftformer": {"dim": 8, "num_blocks": (1, 1, 1), "num_refinement_blocks": 1},
    "grl": {
        "embed_dim": 64, "depths": (2,), "num_heads_window": (2,), "num_heads_stripe": (2,),
        "stripe_size": (8, 8), "stripe_groups": (None, None),
    },
    "hat": {"embed_dim": 12, "depths": (2,), "num_heads": (2,), "window_size": 8, "squeeze_factor": 4,
            "num_feat": 16},
    "kbnet_s": {"width": 8, "middle_blk_num": 1, "enc_blk_nums": (1,), "dec_blk_nums": (1,)},
    "mmrealsr": {
        "num_feat": 12, "num_block": 1, "num_grow_ch": 8, "num_feats": (8, 8, 8, 8), "num_blocks": (1, 1, 1, 1),
    },
    "moesr": {"dim": 16, "n_blocks": 1, "n_block": 1, "upsample_dim": 16},
    "mosr": {"n_block": 2, "dim": 12},
    "nafnet": {"width": 8, "middle_blk_num": 1, "enc_blk_nums": (1,), "dec_blk_nums": (1,)},
    "omnisr": {"num_feat": 16, "res_num": 1},
    "plksr": {"dim": 16, "n_blocks": 2, "kernel_size": 9},
    "rcan": {"n_resgroups": 1, "n_resblocks": 2, "n_feats": 16, "reduction": 4},
    "realcugan": {},
    "retinexformer": {"n_feat": 8, "num_blocks": (1, 1, 1)},
    "rgt": {"embed_dim": 64, "depth": (2,), "num_heads": (2,), "split_size": (8, 16)},
    "safmn": {"dim": 12, "n_blocks": 2},
    "scunet": {"dim": 64, "config": (1, 1, 1, 1, 1, 1, 1)},
    "seemore": {"num_layers": 1, "embedding_dim": 12},
    "swiftsrgan": {"num_channels": 12, "num_blocks": 2},
    "swin2sr": {"embed_dim": 12, "depths": (2,), "num_heads": (2,)},
    "swinir": {"embed_dim": 12, "depths": (2,), "num_heads": (2,)},
    "uformer": {"embed_dim": 8, "depths": (1,) * 9, "img_size": 128},
}  # fmt: skip
"""Options that make each family small enough to be trained in a test."""
NAMES = sorted(FAMILIES)


def spec_of(name, **options):
    """A small network of a family: x2 where it upscales."""
    scale = 2 if 2 in FAMILIES[name].scales else FAMILIES[name].scales[0]
    return {"type": name, "scale": scale, **SMALL[name], **options}


def build(name, **options):
    """The small network of a family with every parameter moved off its initial value."""
    torch.manual_seed(3)
    net = build_network(spec_of(name, **options))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape), alpha=0.02)
    return net


def image(net, height=17, width=23, n=1, seed=1):
    """A random image with the channels that a network takes, no smaller than it takes."""
    least = net.facts.min_size
    return noise(n, 3, max(height, least), max(width, least), seed=seed)
