"""Files of others under any key, and configurations with any value, through the commands themselves."""

import json
import math
import random

import numpy as np
import pytest
import small_run
import torch
from campaigns.attempts import Attempts, Findings, ended_in_words
from safetensors.torch import save_file
from test_check_config import PLACES, VALUES

from traiNNer.archs import build_network
from traiNNer.cli import check, export, upscale
from traiNNer.data.images.image_io import write_image

KEYS = (
    "params",
    "params_ema",
    "params-ema",
    "state_dict",
    "model",
    "net",
    "model_state_dict",
    "g",
    "0",
    7,
    "a b",
    "é",
)
PREFIXES = ("", "module.", "_orig_mod.", "netG.", "generator.", "model.", "net_g.", "x.y.")

VALUES_HERE = [value for value in VALUES.split() if "f" * 30 not in value]


def small(seed=0):
    torch.manual_seed(seed)
    return build_network({"type": "compact", "scale": 2, "num_feat": 4, "num_conv": 1})


def beside(rng):
    """What trainers put beside weights."""
    return {
        rng.choice(("epoch", "iter", "psnr", "lr", "best", "opt", "args", "date")): rng.choice(
            (3, 2.5, math.nan, "text", None, True, [1, 2], {"a": 1}, np.float64(3), np.int32(2), (1, "b"))
        )
        for _ in range(rng.randrange(4))
    }


def file_of_others(path, rng):
    """Weights as somebody might have saved them; whether they can be found without being told a key."""
    prefix = rng.choice(PREFIXES) if rng.random() < 0.5 else ""
    state = {prefix + key: tensor.clone() for key, tensor in small().state_dict().items()}
    harm, clear = rng.random(), True
    name = rng.choice(list(state))
    if harm < 0.08:
        state[name].view(-1)[0] = math.nan
        clear = False
    elif harm < 0.16:
        del state[name]
        clear = False
    elif harm < 0.24:
        state[name] = rng.choice(
            (torch.zeros(0), torch.zeros(2, 2), torch.zeros(3, dtype=torch.int64), torch.tensor(1))
        )
        clear = False
    elif harm < 0.3:
        state = {key: tensor.half() for key, tensor in state.items()}
    elif harm < 0.34:
        state[name] = state[name].to_sparse()
        clear = False
    elif harm < 0.38:
        state[name] = state[name].to("meta")
        clear = False
    if rng.random() < 0.25:
        save_file(
            {k: t.to_dense() if t.is_sparse else t for k, t in state.items() if not t.is_meta},
            path.with_suffix(".safetensors"),
        )
        return path.with_suffix(".safetensors"), clear
    saved = state
    for _ in range(rng.randrange(4)):
        saved = {rng.choice(KEYS): saved} | beside(rng)
    if rng.random() < 0.15:
        saved = {**saved, "second": dict(small(1).state_dict())}
        clear = False
    torch.save(saved, path)
    return path, clear


@pytest.mark.slow
def test_weights_of_others_are_used_or_refused_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng, findings, ends = random.Random(37), Findings(), []
    write_image(tmp_path / "in.png", np.zeros((9, 8, 3), np.uint8))
    for index in range(250):
        path, clear = file_of_others(tmp_path / f"{index}.pth", rng)
        word = ["--key", str(rng.choice(KEYS))] if rng.random() < 0.1 else []
        command = (
            (upscale.main, [path.name, "in.png", "out.png", "--overwrite", *word])
            if rng.random() < 0.8
            else (export.main, [path.name, "--output", f"release{index}", *word])
        )
        with findings.gather():
            status = command[0]([*command[1], "scale=2"] if command[0] is upscale.main else command[1])
            out, err = capsys.readouterr()
            about = index, path.name, clear, word, out, err
            ended_in_words(small_run.Printed(status, out, err), about)
            ends.append(status)
            if status == 2:
                assert len(err.splitlines()) <= 30, about
                assert any(path.name in line for line in err.splitlines()), about
                assert "weights_only" not in err, about
                assert all(line.isprintable() for line in err.splitlines()), about
            if clear and not word and command[0] is upscale.main:
                assert status == 0, about
    findings.none()
    assert set(ends) == {0, 2}


@pytest.mark.slow
def test_a_check_of_any_value_in_any_place_ends_in_words(tmp_path):
    """Unlike check_config, which reads, this builds and steps."""
    attempts, rng, findings, ends = Attempts(tmp_path), random.Random(41), Findings(), []
    for index in range(200):
        count = rng.choice((1, 1, 1, 2))
        words = [f"{rng.choice(PLACES)}={rng.choice(VALUES_HERE)}" for _ in range(count)]
        with findings.gather(words):
            done, said, _ = attempts.run(attempts.options(), (index, words), "--check", *words)
            ends.append(done.returncode)
            assert len(said.splitlines()) < 80, (index, words, said)
        attempts.clear()
    findings.none()
    assert set(ends) >= {0, 2}


@pytest.mark.slow
def test_any_bytes_as_a_configuration_are_explained(tmp_path, capsys):
    """A good file with bytes changed, taken out, doubled or cut off."""
    rng, findings, ends = random.Random(43), Findings(), []
    small_run.write_data(tmp_path)
    tree = small_run.options(tmp_path)
    good = (
        json.dumps(tree, indent=1).encode(),
        (small_run.ROOT / "options/2x_ParagonSR2_Nano.yml").read_bytes(),
    )
    for index in range(400):
        data = bytearray(rng.choice(good))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            match rng.randrange(5):
                case 0:
                    data[at] = rng.randrange(256)
                case 1:
                    del data[at : at + rng.choice((1, 2, 20, 200))]
                case 2:
                    data[at:at] = data[at : at + rng.choice((1, 5, 50))]
                case 3:
                    data[at:at] = rng.choice(
                        (b": ", b"- ", b"\t", b"&a ", b"*a", b"!!x ", b"<<: ", b"{", b"]", b"\0", b"'")
                    )
                case _:
                    data[at] ^= 1 << rng.randrange(8)
        file = tmp_path / "any.yml"
        file.write_bytes(bytes(data))
        with findings.gather():
            status = check.main([str(file), "--no-data"])
            out, err = capsys.readouterr()
            ends.append(status)
            assert status in (0, 2), (index, out, err)
            assert "Traceback" not in out + err, (index, out, err)
            assert status == 0 or "any.yml" in out + err, (index, out, err)
    findings.none()
    assert set(ends) == {0, 2}
