"""`python scripts/export.py`: the files of a release say what they are and compute what the network computes."""

import hashlib
import json
import re

import numpy as np
import pytest
import small_run
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from traiNNer.archs import build_network, load_network
from traiNNer.archs.loading import load_with_metadata
from traiNNer.cli.export import main
from traiNNer.data.images.image_io import read_image, write_image
from traiNNer.release.entry_form import entry_problems, still_to_say
from traiNNer.release.open_model_db import bare_name, model_id

onnxruntime = pytest.importorskip("onnxruntime")

NAME = "2x-Published-Realtime"


def run(model, *words):
    return main([str(model), *map(str, words)])


def compact(bias=0.0):
    torch.manual_seed(0)
    net = build_network({"type": "compact", "scale": 2, "num_feat": 4, "num_conv": 1})
    nn.init.constant_(net.body[-1].bias, bias)
    return net


def saved(net, path, **said):
    about = {"architecture": "compact", "options": json.dumps(net.options), "scale": "2", **said}
    save_file(net.state_dict(), path, about)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Of the Realtime network, as its author publishes them: tensors alone."""
    torch.manual_seed(0)
    net = build_network({"type": "paragonsr2_realtime", "scale": 2, "upsampler_alpha": 0.0})
    path = tmp_path_factory.mktemp("published") / "2xParagonSR2_Realtime_fidelity.safetensors"
    save_file(net.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def bundle(weights, photographs, tmp_path_factory):
    """A whole release of it."""
    folder = tmp_path_factory.mktemp("release")
    write_image(folder / "chelsea.png", photographs[1])
    metrics = folder / "metrics.json"
    metrics.write_text(json.dumps({"Set5": {"mean": {"psnr": 36.64, "ssim": 0.95}, "images": {}}}))
    words = [
        "--onnx",
        "--fp16",
        "--name",
        "Published_Realtime_x2",
        "--author",
        "A. Maker",
        "--license",
        "CC-BY-4.0",
    ]
    words += ["--dataset", "photographs", "--iterations", 5000, "--tags", "photo, General Upscaler"]
    words += ["--description", "Fast. ", "--url", "https://example.org/files/", "--metrics", metrics]
    words += ["--image", folder / "chelsea.png", "--output", folder / "out"]
    assert run(weights, "upsampler_alpha=0.0", *words) == 0
    return folder / "out"


def noise(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(5))


def test_released_weights_load_without_being_told_anything_and_compute_the_same(bundle, weights):
    lq, expected = noise(1, 3, 13, 18), load_network(weights, upsampler_alpha=0.0)
    loaded = load_with_metadata(bundle / f"{NAME}.safetensors")
    with torch.no_grad():
        assert torch.equal(loaded.net(lq), expected(lq))
        half = load_network(bundle / f"{NAME}_fp16.safetensors")(lq)
        assert 0 < (half - expected(lq)).abs().max() < 2e-3
    said = {"author": "A. Maker", "license": "CC-BY-4.0", "dataset": "photographs", "iteration": "5000"}
    assert said.items() <= loaded.metadata.items()
    with safe_open(bundle / f"{NAME}_fp16.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


@pytest.mark.parametrize(("mark", "dtype", "most"), [("", np.float32, 1e-5), ("_fp16", np.float16, 4e-3)])
def test_onnx_files_compute_what_the_network_computes_at_any_size(bundle, weights, mark, dtype, most):
    net = load_network(weights, upsampler_alpha=0.0)
    session = onnxruntime.InferenceSession(bundle / f"{NAME}{mark}.onnx", providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["license"] == "CC-BY-4.0"
    for shape in ((1, 3, 7, 9), (3, 3, 40, 21)):
        (made,) = session.run(["output"], {"input": noise(*shape).numpy().astype(dtype)})
        assert made.dtype == dtype
        with torch.no_grad():
            assert np.abs(made.astype(np.float32) - net(noise(*shape)).numpy()).max() < most
    onnx = pytest.importorskip("onnx")
    program = onnx.load(bundle / f"{NAME}{mark}.onnx", load_external_data=False)
    assert {opset.version for opset in program.opset_import if not opset.domain} == {20}
    assert all(tensor.data_location == tensor.DEFAULT for tensor in program.graph.initializer)  # one file


def test_the_entry_is_as_open_model_db_wants_it(bundle):
    entry = json.loads((bundle / f"{NAME}.json").read_text())
    assert entry["name"] == "Published_Realtime"
    assert entry["author"] == "a-maker"
    assert entry["tags"] == ["photo", "general-upscaler"]
    assert entry["description"] == "Fast."
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", entry["date"])
    assert (entry["architecture"], entry["scale"]) == ("paragonsr2", 2)
    assert (entry["inputChannels"], entry["outputChannels"]) == (3, 3)
    assert entry["trainingIterations"] == 5000
    assert entry["size"] == ["16nf", "1ng", "3nb"]
    assert entry_problems(entry, NAME) == []
    assert still_to_say(entry) == [
        "architecture (theirs have no paragonsr2: it is added to their data/architectures.json)"
    ]
    (pair,) = entry["images"]
    lq, sr = (
        read_image(bundle / pair[side].removeprefix("https://example.org/files/")) for side in ("LR", "SR")
    )
    assert sr.shape[:2] == (2 * lq.shape[0], 2 * lq.shape[1])
    kinds = [(resource["platform"], resource["type"]) for resource in entry["resources"]]
    assert kinds == [("pytorch", "safetensors"), ("onnx", "onnx")] * 2
    for resource in entry["resources"]:
        (url,) = resource["urls"]
        data = (bundle / url.removeprefix("https://example.org/files/")).read_bytes()
        assert (resource["size"], resource["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def test_the_card_shows_scores_files_and_a_comparison_beside_bicubic(bundle):
    card = (bundle / "README.md").read_text()
    assert "| Set5 | 36.6400 | 0.9500 |" in card
    for path in bundle.glob("*.onnx"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in card
    assert "![Bicubic beside the model](comparison.png)" in card
    picture = read_image(bundle / "comparison.png")
    bicubic, network = np.split(picture.astype(float), 2, axis=1)
    assert 1 < np.abs(bicubic - network).mean() < 20


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("2x_Nano_v1.2", "2x-Nano-v1-2"),
        ("2xNano", "2x-Nano"),
        ("Nano-x2", "2x-Nano"),
        ("Nano_2x", "2x-Nano"),
        ("  a  b ", "2x-a-b"),
        ("Max2", "2x-Max2"),
        ("2x4you", "2x-2x4you"),
        ("M\u00f6we", "2x-Mowe"),
    ],
)
def test_an_id_begins_with_the_scale_once(name, expected):
    assert model_id(name, 2) == expected
    assert re.fullmatch(r"\d+x-[a-zA-Z0-9]+(?:-[a-zA-Z0-9]+)*", model_id(name, 2))
    assert bare_name(bare_name(name, 2), 2) == bare_name(name, 2)


def test_what_training_wrote_into_the_file_need_not_be_said_again(tmp_path, capsys):
    run_options = small_run.options(tmp_path, total_iter=2)
    (tmp_path / "resolved.yml").write_text(json.dumps(run_options))
    (tmp_path / "facts.json").write_text(json.dumps({"batch": 4, "world_size": 3}))
    (tmp_path / "models").mkdir()
    path = saved(
        compact(), tmp_path / "models/net_g_best.safetensors", name="2x_Mine", iteration="300", author="Me"
    )
    assert run(path, "--output", tmp_path / "out") == 0
    assert (
        "still to be said in its entry: license, tags, description, resources.urls, images"
        in capsys.readouterr().out
    )
    entry = json.loads((tmp_path / "out/2x-Mine.json").read_text())
    assert (entry["author"], entry["trainingIterations"], entry["license"]) == ("me", 300, None)
    assert (entry["trainingBatchSize"], entry["trainingHRSize"], entry["trainingOTF"]) == (12, 32, False)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "2x-Mine.json",
        "2x-Mine.safetensors",
        "README.md",
    ]


def test_a_network_that_overflows_in_half_precision_is_published_in_full_alone(tmp_path, capsys):
    path = saved(compact(bias=6e4), tmp_path / "Large.safetensors")  # the weights fit, their products do not
    net = compact(bias=6e4)
    nn.init.constant_(net.body[-1].weight, 4e4)
    saved(net, path)
    assert run(path, "--fp16", "--onnx", "--output", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "Large_fp16.onnx: " in said
    assert "are not finite" in said
    assert not (tmp_path / "out/2x-Large_fp16.onnx").exists()
    assert "fp16.onnx" not in (tmp_path / "out/README.md").read_text()


def test_weights_beyond_half_precision_are_named_and_left_out(tmp_path, capsys):
    path = saved(compact(bias=1e5), tmp_path / "Large.safetensors")
    assert run(path, "--fp16", "--output", tmp_path / "out") == 1
    assert "1 tensor is not finite, the first: body." in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").glob("*.safetensors")] == ["2x-Large.safetensors"]


MISTAKES = {
    "no license": (["--license", "free for all"], "should be an SPDX identifier"),
    "no metrics": (["--metrics", "notes.txt"], "should be a metrics.json"),
    "no image": (["--image", "notes.txt"], "notes.txt: "),
    "no name": (["--name", "2x"], "should have letters from a to z"),
    "no address": (["--url", "files/"], "--url: should begin with https://"),
    "no model": (["--pretrained", "my model"], "--pretrained: string should match"),
    "an unknown option": (["num_fet=3"], "did you mean 'num_feat'"),
}


@pytest.mark.parametrize(("words", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_said_in_words_and_nothing_is_written(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("[1]")
    path = saved(compact(), tmp_path / "net.safetensors")
    assert run(path, *words) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "release").exists()


def test_discriminators_and_networks_of_two_channels_are_refused(tmp_path, capsys):
    net = build_network({"type": "munet", "num_feat": 8, "ch_mult": (1, 2)})
    about = {"architecture": "munet", "options": json.dumps({"num_feat": 8, "ch_mult": [1, 2]})}
    save_file(net.state_dict(), tmp_path / "d.safetensors", about)
    assert run(tmp_path / "d.safetensors") == 2
    assert "munet is a discriminator" in capsys.readouterr().err
    two = build_network(
        {"type": "compact", "scale": 2, "num_feat": 4, "num_conv": 1, "num_in_ch": 2, "num_out_ch": 2}
    )
    assert run(saved(two, tmp_path / "two.safetensors")) == 2
    assert (
        "is a network of neither RGB images nor those of one channel (2 in, 2 out)" in capsys.readouterr().err
    )


def test_sixteen_bit_images_can_be_compared_too(tmp_path):
    write_image(tmp_path / "deep.png", np.full((9, 8, 3), 40000, np.uint16))
    path = saved(compact(), tmp_path / "net.safetensors")
    assert run(path, "--image", tmp_path / "deep.png", "--output", tmp_path / "out") == 0
    assert read_image(tmp_path / "out/comparison.png").shape == (18, 32, 3)
    assert (read_image(tmp_path / "out/comparison.png")[:, :16] == 156).all()
