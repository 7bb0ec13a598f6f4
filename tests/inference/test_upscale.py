"""`python scripts/upscale.py`: published weights on photographs, tiles, transparency, videos, and failures."""

import copy
import json
import shlex

import cv2
import numpy as np
import psutil
import pytest
import small_run
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from traiNNer.archs import NetworkFacts, build_network
from traiNNer.cli.upscale import main
from traiNNer.data.images.image_io import read_image, write_image
from traiNNer.inference import tile_size
from traiNNer.inference.network import EvalNetwork
from traiNNer.inference.picture import Picture, read_picture
from traiNNer.inference.tile_size import bytes_per_pixel, fitting_tile, image_bytes
from traiNNer.inference.upscale import ImageUpscaler
from traiNNer.inference.video import Reader
from traiNNer.metrics import psnr
from traiNNer.models.colour import coloured
from traiNNer.runtime import memory

CPU = torch.device("cpu")


def compact():
    """A small network that changes the picture at all places."""
    torch.manual_seed(0)
    net = build_network({"type": "compact", "scale": 2, "num_feat": 4, "num_conv": 1})
    nn.init.normal_(net.body[-1].weight, std=0.05)
    return net.eval()


def upscaler(**changes):
    net = compact()
    return ImageUpscaler(net, net.facts, device=CPU, **changes)


def waves(height, width, white=255):
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [0.5 + 0.4 * np.sin(rows / (3 + k)) * np.cos(columns / (5 - k)) for k in range(3)]
    return (np.stack(planes, axis=-1) * white).astype(np.uint16 if white > 255 else np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A file of weights that says what it is."""
    net = compact()
    path = tmp_path_factory.mktemp("model") / "net.safetensors"
    save_file(net.state_dict(), path, {"architecture": "compact", "options": json.dumps(net.options)})
    return path


@pytest.fixture
def folder(tmp_path):
    """Two good images, one of them deeper, and a broken one."""
    write_image(tmp_path / "in/a.png", waves(20, 31))
    write_image(tmp_path / "in/deep/b.jpg", waves(17, 12))
    (tmp_path / "in/broken.png").write_bytes((tmp_path / "in/a.png").read_bytes()[:60])
    return tmp_path


def run(model, source, out, *more):
    return main([str(model), str(source), str(out), *map(str, more)])


def test_photographs_enlarged_by_published_weights_have_the_published_score(data_root, tmp_path):
    weights = data_root / "checkpoints/2xParagonSR2_Realtime_fidelity.safetensors"
    set5 = data_root / "bench/Set5"
    assert run(weights, set5 / "LRx2", tmp_path, "upsampler_alpha=0.0") == 0
    scores = []
    for path in sorted(tmp_path.glob("*.png")):
        sr, gt = (
            torch.from_numpy(read_image(file))[None].permute(0, 3, 1, 2) / 255
            for file in (path, set5 / "HR" / path.name)
        )
        gt = gt[..., : sr.shape[2], : sr.shape[3]]
        scores.append(psnr(sr, gt, crop_border=2, y_channel=True).item())
    assert len(scores) == 5
    assert np.mean(scores) == pytest.approx(36.64, abs=0.005)


def test_a_folder_is_enlarged_with_what_is_inside_it_and_broken_files_are_listed(model, folder, capsys):
    assert run(model, folder / "in", folder / "out", "--suffix", "_2x") == 1
    assert read_image(folder / "out/a_2x.png").shape == (40, 62, 3)
    assert read_image(folder / "out/deep/b_2x.png").shape == (34, 24, 3)
    said = capsys.readouterr()
    assert "2 of 3 upscaled by 2" in said.out
    assert f"failed: {folder / 'in/broken.png'}: is cut short" in said.err
    assert [path.name for path in (folder / "out").iterdir()] != []
    assert not (folder / "out/broken_2x.png").exists()


def test_what_is_there_is_left_alone_unless_it_is_to_be_overwritten(model, folder, capsys):
    made = folder / "out/a.png"
    write_image(made, waves(3, 3))
    run(model, folder / "in", folder / "out")
    assert read_image(made).shape == (3, 3, 3)
    assert "1 of 3 are there already" in capsys.readouterr().out
    run(model, folder / "in", folder / "out", "--overwrite")
    assert read_image(made).shape == (40, 62, 3)


@pytest.mark.parametrize("other", ["a.webp", "A.webp"])  # the second where upper and lower case are one
def test_files_that_differ_by_their_suffix_alone_do_not_replace_each_other(model, tmp_path, other):
    write_image(tmp_path / "in/a.png", waves(8, 8))
    write_image(tmp_path / "in" / other, waves(9, 9))
    assert run(model, tmp_path / "in", tmp_path / "out") == 0
    sizes = {path.name: read_image(path).shape[0] for path in (tmp_path / "out").iterdir()}
    assert sizes == {"a.png.png": 16, f"{other}.png": 18}


def test_tiles_give_the_picture_of_the_whole_and_an_ensemble_too(model):
    image = waves(37, 50)
    for ensemble in (False, True):
        whole = upscaler(tile=0, ensemble=ensemble).pixels(image).astype(int)
        tiled = upscaler(tile=11, ensemble=ensemble).pixels(image)
        assert np.abs(whole - tiled).max() <= 1  # rounding


def test_images_that_do_not_fit_into_memory_are_taken_in_tiles(monkeypatch, caplog):
    image = waves(300, 200)
    whole = upscaler().pixels(image)
    assert not caplog.records
    monkeypatch.setattr(tile_size, "free_memory", lambda device: 20_000_000)
    with caplog.at_level("INFO"):
        tiled = upscaler().pixels(image)
    assert "200 x 300 pixels are computed in tiles of" in caplog.text
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_a_tile_with_its_margin_takes_no_more_than_there_is():
    net = compact()
    per_pixel = bytes_per_pixel(EvalNetwork(net, net.facts), CPU)
    assert per_pixel >= 2 * 4 * 4  # input and output of one layer of four channels
    facts = NetworkFacts("generator", scale=2, multiple_of=8, tile_margin=20)
    for free in (10**7, 10**8, 10**9):
        side = fitting_tile(facts, (900, 700), per_pixel=1000.0, free=free)
        assert side % 8 == 0
        images = 900 * 700 * 3 * 4 * (1 + 2 * 2**2)  # input, output and one more of its size
        assert side <= 32 or (side + 2 * 24) ** 2 * 1000 + images <= 0.4 * free
    assert side > 300
    assert fitting_tile(facts, (900, 700), per_pixel=1000.0, free=10**10) == 0


@pytest.mark.parametrize("color", ["y", "grey"])
def test_the_colours_of_a_plane_take_no_more_than_is_kept_free_for_images(color):
    lq = torch.rand(1, 3, 24, 20)
    with tile_size._LiveBytes() as made:
        coloured(torch.rand(1, 1, 96, 80), lq, color)
    plane = 4 * (3 + 1 + 4**2)
    assert made.peak / (24 * 20) + plane <= image_bytes(NetworkFacts("generator", scale=4, channels=1))


def test_what_the_process_holds_already_is_not_free(monkeypatch):
    held = psutil.Process().memory_info().vms
    assert memory.free_memory(CPU) > 0
    monkeypatch.setattr(memory, "address_space_limit", lambda: held + 50_000_000)
    assert 0 < memory.free_memory(CPU) <= 50_000_000
    monkeypatch.setattr(memory, "address_space_limit", lambda: held // 2)
    assert memory.free_memory(CPU) == 0


def test_networks_that_look_at_the_whole_image_say_what_tiles_do(caplog):
    net = compact()
    with caplog.at_level("INFO"):
        facts = NetworkFacts("generator", scale=2, tile_margin=None)
        ImageUpscaler(net, facts, device=CPU, tile=16).pixels(waves(40, 40))
    assert "depends on the whole image" in caplog.text


def test_an_ensemble_turns_with_the_picture():
    eight = upscaler(ensemble=True)
    image = waves(24, 24)
    turned = np.ascontiguousarray(np.rot90(image))
    assert np.abs(np.rot90(eight.pixels(image)).astype(int) - eight.pixels(turned)).max() <= 1
    single = upscaler()
    assert np.abs(np.rot90(single.pixels(image)).astype(int) - single.pixels(turned)).max() > 1


def test_sixteen_bits_stay_sixteen(model, tmp_path):
    write_image(tmp_path / "deep.png", waves(16, 16, white=65535))
    assert run(model, tmp_path / "deep.png", tmp_path / "out") == 0
    fine = read_image(tmp_path / "out/deep.png")
    assert fine.dtype == np.uint16
    coarse = upscaler().pixels((waves(16, 16, white=65535) / 257).round().astype(np.uint8))
    assert np.abs(fine / 257 - coarse).max() < 1.5
    assert np.unique(fine % 257).size > 100


def test_transparency_is_enlarged_as_a_grey_image_is():
    alpha = waves(20, 20)[..., 0]
    made = upscaler().picture(Picture(waves(20, 20), alpha))
    grey = upscaler().pixels(np.repeat(alpha[..., None], 3, axis=2))
    assert np.abs(made[..., 3] - grey.mean(axis=2)).max() <= 1
    assert np.array_equal(made[..., :3], upscaler().pixels(waves(20, 20)))
    flat = upscaler().picture(Picture(waves(5, 5), np.full((5, 5), 77, np.uint8)))
    assert (flat[..., 3] == 77).all()


@pytest.mark.parametrize("form", ["png", "webp"])
def test_transparent_files_stay_transparent_where_the_format_allows_it(model, tmp_path, form):
    image = np.dstack([waves(12, 10), waves(12, 10)[..., 0]])
    write_image(tmp_path / "in.png", image)
    assert np.array_equal(read_picture(tmp_path / "in.png").alpha, image[..., 3])
    assert run(model, tmp_path / "in.png", tmp_path / "out", "--format", form) == 0
    assert np.array_equal(
        read_picture(tmp_path / f"out/in.{form}").alpha,
        upscaler().picture(Picture(image[..., :3], image[..., 3]))[..., 3],
    )


def test_what_a_format_cannot_hold_is_said(model, tmp_path, capsys):
    deep = waves(12, 10, white=65535)
    write_image(tmp_path / "in/a.png", np.dstack([deep, deep[..., 0]]))
    assert run(model, tmp_path / "in", tmp_path / "out", "--format", "jpg") == 0
    said = capsys.readouterr().out
    assert "1 without transparency, which jpg files cannot hold" in said
    assert "1 rounded from 16 to 8 bits" in said
    assert read_image(tmp_path / "out/a.jpg").dtype == np.uint8


def test_photographs_are_turned_as_their_orientation_says(tmp_path):
    picture = Image.fromarray(waves(8, 20))
    exif = picture.getexif()
    exif[0x0112] = 6  # a quarter to the right
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert read_picture(tmp_path / "turned.jpg").pixels.shape == (20, 8, 3)
    assert read_image(tmp_path / "turned.jpg").shape == (8, 20, 3)


def test_low_precision_is_close_and_an_overflow_is_a_failure(model, tmp_path, capsys):
    image = waves(20, 20)
    for dtype, most in ((torch.float16, 1), (torch.bfloat16, 4)):
        low = upscaler(dtype=dtype).pixels(image).astype(int)
        assert 0 < np.abs(low - upscaler().pixels(image)).max() <= most
    net = compact()
    nn.init.constant_(net.body[-1].bias, 1e5)  # beyond the largest number of float16
    about = {"architecture": "compact", "options": json.dumps(net.options)}
    save_file(net.state_dict(), tmp_path / "large.safetensors", about)
    write_image(tmp_path / "in.png", image)
    assert run(tmp_path / "large.safetensors", tmp_path / "in.png", tmp_path / "out", "--fp16") == 1
    assert "in.png: the output of the network is not finite; compute in float32" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("base", ["compact", "magic", "bicubic"])
def test_bfloat16_does_not_brighten_the_enlarged_image_that_detail_is_added_to(base):
    """The pixels k / 255 all round upwards to its 8 bits, and the taps of bicubic to a sum above 1."""
    spec = {"type": "compact"} if base == "compact" else {"type": "paragonsr2_realtime", "base": base}
    net = build_network({**spec, "scale": 2, "num_feat": 4})
    last = net.body[-1] if base == "compact" else net.conv_out
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    low, full = (
        ImageUpscaler(copy.deepcopy(net), net.facts, device=torch.device("cpu"), dtype=dtype)
        for dtype in (torch.bfloat16, torch.float32)
    )
    image = waves(20, 20).astype(np.uint16) * 257  # k / 255 still, and results of 16 bits
    assert (low.pixels(image) == full.pixels(image)).all()


def film(path, frames):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 12.5, (32, 24))
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def test_every_frame_of_a_video_is_enlarged_at_its_rate(model, tmp_path, capsys):
    frames = [waves(24, 32) // (k + 1) for k in range(4)]
    film(tmp_path / "in.mkv", frames)
    for form in ("mkv", "mp4"):
        made = tmp_path / f"my films/out.{form}"
        assert run(model, tmp_path / "in.mkv", made) == 0
        with Reader(made) as video:
            assert (video.height, video.width, video.frames, video.frames_per_second) == (48, 64, 4, 12.5)
            pairs = list(zip(frames, video, strict=True))
        assert form == "mp4" or all(np.array_equal(upscaler().pixels(lq), sr) for lq, sr in pairs)
    said = capsys.readouterr().out
    whole = shlex.quote(str(tmp_path / "my films/out_with_sound.mkv"))
    assert f"ffmpeg -i {shlex.quote(str(made))} -i {tmp_path}/in.mkv" in said
    assert f"-map '1:a?' -c copy {whole}" in said


def test_a_video_that_ends_too_early_leaves_no_output(model, tmp_path, capsys):
    film(tmp_path / "in.mkv", [waves(24, 32) for _ in range(20)])
    whole = (tmp_path / "in.mkv").read_bytes()
    (tmp_path / "in.mkv").write_bytes(whole[: len(whole) // 2])
    assert run(model, tmp_path / "in.mkv", tmp_path / "out") == 1
    assert "of 20 frames" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


MISTAKES = {
    "output inside input": (["in", "in/out"], "should not be inside"),
    "no input": (["nowhere", "out"], "no such file or folder"),
    "no image": (["notes.txt", "out"], "should be an image"),
    "the input as output": (["in/a.png", "in/a.png"], "is the input"),
    "no value": (["in", "out", "num_feat"], "should be key=value"),
    "an unknown option": (["in", "out", "num_fet=4"], "did you mean 'num_feat'"),
    "a folder to a file": (["in", "notes.txt"], "notes.txt: should be a folder"),
    "a folder to one image": (["in", "out.png"], "out.png: should be a folder"),
    "a suffix that is a path": (["in", "out", "--suffix", "/x"], "--suffix /x: should be a part of a name"),
    "an image to a video": (["in/a.png", "out.mp4"], "out.mp4: should be a folder"),
    "no such device": (["in", "out", "--device", "cuda:99"], "--device cuda:99: cannot be used"),
}


@pytest.mark.parametrize(("words", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_said_in_words_with_status_2(model, folder, monkeypatch, capsys, words, said):
    monkeypatch.chdir(folder)
    (folder / "notes.txt").write_text("no image")
    assert main([str(model), *words]) == 2
    assert said in capsys.readouterr().err


def test_tiles_below_0_are_a_mistake_on_the_command_line(capsys):
    with pytest.raises(SystemExit):
        main(["net.safetensors", "in", "out", "--tile", "-5"])
    assert "--tile: should be a whole number from 0 on (got -5)" in capsys.readouterr().err


def test_one_image_is_said_with_the_file_that_was_made(model, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert main([str(model), "in/a.png", "one.png"]) == 0
    assert capsys.readouterr().out == "1 of 1 upscaled by 2: one.png\n"


def test_the_folder_of_a_run_in_place_of_its_weights_is_recognised(folder, capsys):
    best = folder / "run/models/net_g_best.safetensors"
    best.parent.mkdir(parents=True)
    best.touch()
    assert run(folder / "run", folder / "in", folder / "out") == 2
    assert f"is a folder, not a file; the weights of this run: {best}" in capsys.readouterr().err


def test_mistakes_that_cost_nothing_to_see_come_before_the_network_is_read(folder, capsys):
    assert main([str(folder / "no.safetensors"), str(folder / "nowhere"), "out"]) == 2
    assert "nowhere: no such file or folder" in capsys.readouterr().err


def test_validation_in_automatic_tiles_scores_as_on_whole_images(tmp_path, monkeypatch):
    small_run.write_data(tmp_path)
    file = small_run.write_options(tmp_path, small_run.options(tmp_path))
    scores = {}
    for name, side in (("whole", "0"), ("tiled", "auto")):
        if side == "auto":
            monkeypatch.setattr(tile_size, "free_memory", lambda device: 10_000)
            monkeypatch.setattr(tile_size, "_SMALLEST", 8)
        assert small_run.train(file, f"name={name}", f"val.tile_size={side}").returncode == 0
        lines = (tmp_path / "experiments" / name / "metrics.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        scores[name] = [r["metrics"]["psnr"] for r in records if r["kind"] == "val"]
    assert "are computed in tiles of" in (tmp_path / "experiments/tiled/train_tiled.log").read_text()
    assert scores["tiled"] == pytest.approx(scores["whole"], abs=1e-4)
