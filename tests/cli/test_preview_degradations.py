import json

import cv2
import small_run

from traiNNer.cli.preview_degradations import main
from traiNNer.cli.train import main as train


def configuration(folder, **chain):
    small_run.write_data(folder)
    options = small_run.options(folder)
    for data in options["datasets"].values():
        data["type"] = "RealESRGANDataset"
        del data["dataroot_lq"]
    return small_run.write_options(folder, {**options, "degradation": {"preset": "strong", **chain}})


def test_the_samples_of_a_position_are_shown(tmp_path, capsys):
    file = configuration(tmp_path)
    assert (
        main([str(file), "--count", "3", "--position", "5", "--stages", "--out", str(tmp_path / "out")]) == 0
    )
    lines = [json.loads(line) for line in (tmp_path / "out/samples.jsonl").read_text().splitlines()]
    assert [line["position"] for line in lines] == [5, 6, 7]
    assert {"blur_1", "compression_2"} <= {stage["stage"] for line in lines for stage in line["stages"]}
    picture = cv2.imread(str(tmp_path / "out/samples.png"))
    assert picture.shape[0] == 3 * (32 + 8 + 15) and picture.std() > 10
    assert (tmp_path / "out/stages.png").is_file()
    assert "LQ against bicubic" in capsys.readouterr().out
    assert main([str(file), "--count", "1", "--position", "6", "--out", str(tmp_path / "one")]) == 0
    assert json.loads((tmp_path / "one/samples.jsonl").read_text()) == lines[1]


def test_a_run_of_one_channel_sees_no_colours(tmp_path, capsys):
    options = json.loads(configuration(tmp_path).read_text())
    options["datasets"]["train"]["color"] = "y"
    file = small_run.write_options(tmp_path, options)
    assert main([str(file), "--count", "1", "--stages", "--out", str(tmp_path / "out")]) == 0
    for name in ("samples", "stages"):
        picture = cv2.imread(str(tmp_path / f"out/{name}.png"))
        assert (picture == picture[..., :1]).all() and picture.max() == 255 and picture.min() == 0
    assert "as networks see it: Y of YCbCr" in capsys.readouterr().out


def test_a_set_without_a_chain_is_refused(tmp_path, capsys):
    small_run.write_data(tmp_path)
    file = small_run.write_options(tmp_path, small_run.options(tmp_path))
    assert main([str(file)]) == 2
    assert "makes no LQ images" in capsys.readouterr().err


def test_check_says_what_samples_cost_and_how_bad_they_are(tmp_path):
    printed = small_run.train(configuration(tmp_path), "--check")
    assert printed.returncode == 0
    assert "LQ against bicubic" in printed.stdout and "ms of CPU time each" in printed.stdout


def test_scores_come_by_strength(tmp_path):
    file = configuration(tmp_path)
    options = json.loads(file.read_text())
    data = options["datasets"].pop("val")
    for preset in ("weak", "strong"):
        options["datasets"][f"val_{preset}"] = {**data, "name": preset, "degradation_preset": preset}
    options["train"]["total_iter"], options["val"]["val_freq"] = 1, 1
    file = small_run.write_options(tmp_path, options)
    assert train(["-opt", str(file)]) == 0
    lines = (tmp_path / "experiments/small/metrics.jsonl").read_text().splitlines()
    scores = {r["set"]: r["metrics"]["psnr"] for line in lines if (r := json.loads(line))["kind"] == "val"}
    assert scores["weak"] > scores["strong"] + 1
