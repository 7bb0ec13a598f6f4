"""Networks in outline: the shapes of the real ones, and nothing that costs memory or time."""

import subprocess
import sys

import pytest
import small_run
from published_networks import SMALL as PUBLISHED
from small_networks import SMALL, spec_of

from traiNNer.archs import NETWORKS
from traiNNer.archs.outline import outline
from traiNNer.build.demands import too_large
from traiNNer.options import load_options

AWKWARD = ("dat", "hat", "rcan", "swinir")
"""Networks that read or set tensors while they are made."""


def shapes(net):
    return {name: tuple(parameter.shape) for name, parameter in net.named_parameters()}


@pytest.mark.parametrize("name", [*SMALL, *AWKWARD])
def test_an_outline_has_the_parameters_of_the_network_and_no_memory(name):
    spec = {**spec_of(name), **(PUBLISHED[name] if name in AWKWARD else {})}
    with outline():
        net = NETWORKS.build(spec)
    assert shapes(net) == shapes(NETWORKS.build(spec))
    large = [parameter for parameter in net.parameters() if parameter.ndim > 1]
    assert large and sum(p.is_meta for p in large) >= len(large) / 2


def test_an_outline_of_the_networks_of_the_recipes_does_not_import_the_compiler():
    code = (
        "import sys\nfrom traiNNer.archs import NETWORKS\nfrom traiNNer.archs.outline import outline\n"
        "with outline():\n"
        "    for name in ('paragonsr2_nano', 'paragonsr2_photo', 'paragonsr2_realtime', 'esrgan', 'span'):\n"
        "        NETWORKS.build({'type': name, 'scale': 2})\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=small_run.ROOT)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    "network",
    ["{type: swinir, embed_dim: 180000, depths: [6], num_heads: [6]}", "{type: rcan, n_feats: 90000}"],
)
def test_a_published_network_that_no_memory_holds_is_refused_before_it_is_made(tmp_path, network):
    file = small_run.write_options(tmp_path, small_run.options(tmp_path, total_iter=1))
    (line,) = too_large(load_options(file, [f"network_g={network}"]))
    assert "network_g: its weights take" in line
