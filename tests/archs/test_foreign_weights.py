"""Weights that others have made, wrapped or damaged: loaded, or refused in one plain line that names the file."""

import json
import pickle
import random
import re
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from traiNNer.archs import build_network, load_network
from traiNNer.archs.loading import load_weights, other_network
from traiNNer.archs.weights_file import read_weights
from traiNNer.registry import ConfigError
from traiNNer.release.weights import read_with_metadata


def compact(**options):
    torch.manual_seed(0)
    return build_network({"type": "compact", "scale": 2, "num_feat": 4, "num_conv": 1, **options})


WEIGHTS = compact().state_dict()


def with_prefix(prefix):
    return {f"{prefix}.{name}": tensor for name, tensor in WEIGHTS.items()}


OTHER = {"fc.weight": torch.ones(2, 2)}
WRAPPED = {
    **{
        key: {key: WEIGHTS}
        for key in ("params-ema", "model", "net", "model_state_dict", "anything at all", 7)
    },
    **{f"prefix {prefix}": with_prefix(prefix) for prefix in ("netG", "generator", "my.own.model")},
    "prefix below a key": {"state_dict": with_prefix("module.netG")},
    "generator beside others": {"state_dict": {**with_prefix("netG"), "netD.fc.weight": torch.ones(2)}},
    "beside an optimizer": {"model": WEIGHTS, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}},
    "deep beside plain values by name": {"g": {"x": WEIGHTS}, "iter": {"a": 1}},
    "beside plain values": {**WEIGHTS, "iter": 5, "note": "x", "best": None},
    "numpy scalars": {"params": WEIGHTS, "psnr": np.float64(31.5), "n": np.int32(3), "h": np.float16(2)},
    "numpy scalars among them": {**WEIGHTS, "psnr": np.float32(31.5)},
    "numpy arrays": {"params": WEIGHTS, "scores": np.arange(4.0), "names": np.array(["a", "b"])},
    "parameters": {"params": OrderedDict((k, nn.Parameter(v)) for k, v in WEIGHTS.items())},
    "bfloat16": {k: v.bfloat16().float().bfloat16() for k, v in WEIGHTS.items()},
}


@pytest.mark.parametrize("content", WRAPPED.values(), ids=map(str, WRAPPED))
@pytest.mark.parametrize("legacy", [False, True])
def test_weights_are_found_wherever_a_trainer_has_put_them(content, legacy, tmp_path):
    torch.save(content, path := tmp_path / "net.pth", _use_new_zipfile_serialization=not legacy)
    net = load_network(path)
    assert all(torch.allclose(t, WEIGHTS[name], atol=1e-2) for name, t in net.state_dict().items())


def sparse():
    return torch.ones(3, 3).to_sparse()


def not_finite(value):
    return {
        **WEIGHTS,
        "body.0.weight": WEIGHTS["body.0.weight"].clone().index_fill_(0, torch.tensor([1]), value),
    }


class Unknown:
    """Of a class that a reader does not know."""


REFUSED = {
    "nan": (not_finite(float("nan")), r"body\.0\.weight holds values that are not finite \(27 of 108\)"),
    "infinite": (not_finite(float("-inf")), r"body\.0\.weight holds values that are not finite"),
    "nan in half": ({k: v.half() for k, v in not_finite(float("nan")).items()}, "not finite"),
    "sparse": ({"a": sparse()}, "a is a sparse"),
    "meta": ({"a": torch.empty(3, device="meta")}, "a has no values"),
    "complex": ({"a": torch.ones(3, dtype=torch.complex64)}, "a holds complex numbers"),
    "more than the file holds": ({"a": torch.zeros(1).expand(10**7)}, "a claims more values"),
    "a class": ({"params": WEIGHTS, "options": Unknown()}, r"refused.*test_foreign_weights\.Unknown"),
    "two sets": ({"a": WEIGHTS, "b": OTHER}, r"several sets of weights \(a, b\).*--key"),
    "our state": ({"format": 1, "parts": {"model": WEIGHTS}}, "is a training state"),
    "a state of BasicSR": (
        {"epoch": 1, "iter": 2, "optimizers": [], "schedulers": []},
        "is a training state",
    ),
    "a number": (3, "no weights by name"),
    "a name that a terminal obeys": ({"\x1b[31ma\nb": torch.full((1,), torch.nan)}, r"\\x1b\[31ma\\nb holds"),
}


def refusal(path, read=read_weights, **arguments):
    """What is said of a file: one printable line that begins with its name."""
    with pytest.raises(ConfigError) as caught:
        read(path, **arguments)
    (line,) = caught.value.problems
    assert line.startswith(f"{path}: ")
    assert line.isprintable(), line
    assert len(line) < 400
    return line


@pytest.mark.parametrize(("content", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_weights_is_refused_in_one_line(content, words, tmp_path):
    torch.save(content, path := tmp_path / "net.pth")
    assert re.search(words, refusal(path))


def test_a_file_that_holds_itself_is_refused(tmp_path):
    content = {}
    content["params"] = content
    torch.save(content, path := tmp_path / "net.pth")
    refusal(path)


def test_masks_of_attention_may_be_infinite(tmp_path):
    torch.save({"attn_mask": torch.tensor([0.0, -torch.inf])}, path := tmp_path / "net.pth")
    assert read_weights(path)[0]["attn_mask"][1] == -torch.inf


@pytest.mark.parametrize("form", ["pth", "safetensors"])
def test_the_key_chooses_among_several_in_either_format(form, tmp_path):
    path = tmp_path / f"both.{form}"
    if form == "pth":
        torch.save({"a": WEIGHTS, "b": OTHER}, path)
    else:
        save_file({**with_prefix("a"), **{f"b.{k}": v for k, v in OTHER.items()}}, path)
    assert read_weights(path, "b")[0].keys() == OTHER.keys()
    load_network(path, key="a")
    assert "has no key 'c'" in refusal(path, key="c")


def test_a_wrong_key_is_answered_by_the_keys_that_are_there(tmp_path):
    torch.save({"one": WEIGHTS, "two": OTHER, "iter": 5}, path := tmp_path / "net.pth")
    assert refusal(path, key="three").endswith("has no key 'three'; its keys: one, two")
    torch.save({f"body.{i}.weight": torch.ones(1) for i in range(400)}, path)
    assert "its weights lie at the top: leave the key out" in (said := refusal(path, key="three"))
    assert said.endswith("first part of their names: body")


def test_a_key_of_trainers_finds_safetensors_that_lie_at_the_top(tmp_path, caplog):
    save_file(WEIGHTS, path := tmp_path / "net.safetensors")
    with caplog.at_level("INFO"):
        assert read_weights(path, "params_ema")[0].keys() == WEIGHTS.keys()
    assert "not under 'params_ema'" in caplog.text


METADATA = {
    "deep": {"options": "[" * 100_000},
    "long number": {"options": '{"num_feat": 1' + "0" * 5000 + "}"},
    "huge": {"architecture": "compact", "options": '{"num_feat": 8000000000}'},
    "huge inside": {"architecture": "compact", "options": '{"num_feat": [[1e308]]}'},
    "infinite": {"architecture": "compact", "options": '{"num_feat": Infinity}'},
    "a list": {"options": "[1]"},
    "scale": {"scale": "9" * 5000},
}


@pytest.mark.parametrize("metadata", METADATA.values(), ids=METADATA)
def test_absurd_metadata_are_refused_in_one_line(metadata, tmp_path):
    save_file(WEIGHTS, path := tmp_path / "net.safetensors", metadata)
    assert "its metadata" in refusal(path, load_network)


@pytest.mark.parametrize(
    "text", ['{"iteration": "8"}', '{"iteration": 8}', '["8"]', '{"iteration": "8', "[" * 100_000]
)
def test_a_resumed_run_reads_of_a_pth_what_everybody_reads(text, tmp_path):
    torch.save({"params": WEIGHTS, "metadata": text}, path := tmp_path / "net.pth")
    stored = read_with_metadata(path)
    assert stored["metadata"] == read_weights(path)[1]
    assert all(torch.equal(stored["weights"][name], tensor) for name, tensor in WEIGHTS.items())
    path.write_bytes(path.read_bytes()[:100])
    assert read_with_metadata(path) is None


def test_weights_of_another_network_are_called_by_its_name():
    spec = {"type": "compact", "scale": 2, "num_feat": 4, "num_conv": 1}
    assert other_network(WEIGHTS, {}, spec) is None
    assert other_network(WEIGHTS, {}, {"type": "span", "scale": 2}) == "it is of compact, not span"
    assert "num_feat: 4 in the file, 8 here" in other_network(WEIGHTS, {}, {**spec, "num_feat": 8})
    assert "its metadata say it is of Foo" in other_network(OTHER, {"architecture": "Foo"}, spec)


def test_loose_loading_that_finds_nothing_is_an_error():
    with pytest.raises(ConfigError, match="none of the 1 tensors fits"):
        load_weights(compact(), OTHER, strict=False)


def test_names_that_fit_without_their_prefix_are_loaded_and_it_is_said():
    net = compact()
    nn.init.zeros_(net.body[0].weight)
    said = load_weights(net, with_prefix("netG"), strict=True)
    assert (
        said.line == f"loaded {len(WEIGHTS)} of {len(WEIGHTS)} tensors, without the first part of their names"
    )
    assert torch.equal(net.body[0].weight, WEIGHTS["body.0.weight"])


def damaged(data, rng):
    """Bytes with one to four of them changed, taken out, or cut off."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        match rng.randrange(4):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                data[at] ^= 1 << rng.randrange(8)
            case 2:
                del data[at : at + rng.randint(1, 8)]
            case _:
                data[at:at] = rng.randbytes(rng.randint(1, 8))
    return bytes(data)


def rewritten(source, target, rng):
    """A zip file whose pickle is damaged while its checksums are right."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, damaged(data, rng) if name.endswith("data.pkl") else data)


def loads_or_is_refused(path):
    try:
        net = load_network(path)
    except ConfigError as error:
        for line in error.problems:
            assert line.startswith(f"{path}: "), line
            assert line.isprintable(), line
            assert "weights_only" not in line, line
        return False
    assert all(bool(t.isfinite().all()) for t in net.state_dict().values())
    return True


def campaign(folder, count, seed):
    """Damaged files of all three formats; how many loaded."""
    rng, loaded = random.Random(seed), 0
    small = {"params": dict(WEIGHTS), "psnr": np.float64(3)}
    torch.save(small, zipped := folder / "zip.pth")
    torch.save(small, old := folder / "old.pth", _use_new_zipfile_serialization=False)
    about = {"architecture": "compact", "options": json.dumps({"num_feat": 4, "num_conv": 1}), "scale": "2"}
    safe = save(WEIGHTS, about)
    length = struct.unpack("<Q", safe[:8])[0]
    for index in range(count):
        path = folder / ("t.safetensors" if index % 4 == 3 else "t.pth")
        if index % 4 == 0:
            rewritten(zipped, path, rng)
        elif index % 4 == 1:
            path.write_bytes(damaged(old.read_bytes()[:3000], rng) + old.read_bytes()[3000:])
        elif index % 4 == 2:
            path.write_bytes(damaged(pickle.dumps({k: v.tolist() for k, v in WEIGHTS.items()}, 2), rng))
        else:
            header = damaged(safe[8 : 8 + length], rng)
            path.write_bytes(struct.pack("<Q", len(header)) + header + safe[8 + length :])
        loaded += loads_or_is_refused(path)
    return loaded


def test_damaged_files_are_loaded_or_refused_in_words(tmp_path):
    assert 0 < campaign(tmp_path, 200, seed=1) < 200


@pytest.mark.slow
def test_many_damaged_files_are_loaded_or_refused_in_words(tmp_path):
    assert 0 < campaign(tmp_path, 6000, seed=2) < 6000


def absurd_shapes(count, seed):
    """Names of a known network with other numbers of dimensions and other sizes."""
    rng = random.Random(seed)
    for _ in range(count):
        shapes = {
            name: [rng.choice([0, 1, 2, 3, 5, 7, 12]) for _ in range(rng.randrange(6))]
            if rng.random() < 0.3
            else list(tensor.shape)
            for name, tensor in WEIGHTS.items()
            if rng.random() < 0.9
        }
        yield {name: torch.zeros(shape) for name, shape in shapes.items()}


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_known_names_with_absurd_shapes_are_refused_in_words(tmp_path):
    for weights in absurd_shapes(40, seed=3):
        torch.save(weights, path := tmp_path / "t.pth")
        loads_or_is_refused(path)
