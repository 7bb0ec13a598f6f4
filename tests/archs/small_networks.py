"""Small instances of all networks for tests: what to build, with weights that hide nothing."""

import torch

from traiNNer.archs import NETWORKS, build_network, list_networks
from traiNNer.archs.published import PUBLISHED

SMALL = {
    "compact": {"num_feat": 12, "num_conv": 2},
    "dunet": {"num_feat": 4},
    "esrgan": {"num_feat": 8, "num_block": 1, "num_grow_ch": 4},
    "mosrv2": {"n_block": 1, "dim": 16, "mid_dim": 8},
    "munet": {"num_feat": 8, "ch_mult": (1, 2)},
    "paragonsr2": {"num_feat": 16, "num_groups": 1, "num_blocks": 1, "use_attention": True, "use_norm": True},
    "paragonsr2_dual": {"num_feat": 16, "num_groups": 1, "num_blocks": 2, "window_size": 8},
    "paragonsr2_magic": {"num_feat": 16, "num_groups": 2, "num_blocks": 1},
    "paragonsr2_photo": {"num_feat": 16, "num_groups": 1, "num_blocks": 2},
    "paragonsr2_pro": {"num_feat": 16, "num_groups": 1, "num_blocks": 2},
    "patchgan": {"ndf": 4, "n_layers": 2, "num_d": 2, "norm": "instance"},
    "realplksr": {"dim": 12, "n_blocks": 2, "kernel_size": 7},
    "rtmosr": {"dim": 8, "n_blocks": 1},
    "rtmosr_l": {"dim": 8, "n_blocks": 1},
    "rtmosr_ul": {"dim": 8, "n_blocks": 1},
    "spanplus": {"feature_channels": 8, "blocks": (1,), "upsampler": "ps"},
    "spanplus_s": {"feature_channels": 8, "blocks": (1,), "upsampler": "ps"},
    "spanplus_st": {"feature_channels": 8, "blocks": (1, 1)},
    "spanplus_sts": {"feature_channels": 8, "blocks": (1,)},
    "span": {"feature_channels": 8},
    "unetdiscriminatorsn": {"num_feat": 4},
    "vggstylediscriminator": {"num_feat": 4, "input_size": 32},
}
"""Options for networks whose defaults are too large to run in a test."""
LIMIT = 120_000
"""Parameters of the largest network that tests run; larger ones are only constructed, without memory."""


def spec_of(name):
    """What to build for a name: small where that is needed, at scale 2 where it has a scale."""
    scale = {"scale": 2} if "scale" in NETWORKS.parameters(name) else {}
    return {"type": name, **scale, **SMALL.get(name, {})}


def bare(spec):
    """The network as constructed, without memory for its weights unless it is known to be small."""
    with torch.device("cpu" if spec["type"] in SMALL else "meta"):
        return build_network(spec)


ALL = [name for name in list_networks() if name not in PUBLISHED]
BARE = {name: bare(spec_of(name)) for name in ALL}
"""One instance of each name, for questions about it."""
RUN = [name for name, net in BARE.items() if sum(p.numel() for p in net.parameters()) <= LIMIT]
"""The names whose instances are run; together they hold every class of module that any network has."""
GENERATORS = [name for name in RUN if BARE[name].facts.kind == "generator"]
DISCRIMINATORS = [name for name in RUN if BARE[name].facts.kind == "discriminator"]


def build(name, **options):
    """The network of a name, small, with fixed weights, every learned one moved off its initial value.

    Otherwise a branch behind an initial zero or 1e-5 would not be tested.
    """
    torch.manual_seed(3)
    net = build_network({**spec_of(name), **options})
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape), alpha=0.03)
    return net


def noise(*shape, seed=1):
    """A uniform random image, 0 to 1."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def run(net, image):
    """What a network makes of an image, as one tensor: logits of several scales side by side, `(n, count)`."""
    out = net(image)
    return out if isinstance(out, torch.Tensor) else torch.cat([logits.flatten(1) for logits in out], dim=1)


def assert_close(ours, theirs, tolerance=1e-5):
    """Equal up to rounding: `tolerance` of the largest value, or absolute below 1."""
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max().item() <= tolerance * max(1.0, theirs.abs().max().item())
