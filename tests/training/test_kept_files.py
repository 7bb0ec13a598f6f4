"""What a run keeps belongs to the course that it goes on with, and is no more than was asked for."""

import json
import math

import numpy as np
import pytest
import small_run
import torch
from tiny import Waves, halved, make_model, make_trainer
from training.test_resume import resumed

from traiNNer.automations.diagnosis import diagnose
from traiNNer.control import Controls, Stop, to_plain
from traiNNer.data.images.image_io import ImageError
from traiNNer.inference.images import Shown
from traiNNer.inference.network import EvalNetwork
from traiNNer.optim.schedules import SCHEDULES
from traiNNer.release.weights import read_with_metadata
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.runtime.signals import StopSignal
from traiNNer.tracking.validation_images import ValidationImages
from traiNNer.training.agreement import processes_agree
from traiNNer.training.checkpoint import read_state
from traiNNer.training.state import DataError, Progress


def best_of(root):
    found = read_with_metadata(root / "models/net_g_best.safetensors")
    return found and (found["metadata"]["iteration"], found["weights"])


def test_a_run_that_goes_back_gets_back_the_best_weights_of_that_course(tmp_path):
    early = make_trainer(tmp_path, total=5)
    early.fit(StopSignal())
    state = read_state(tmp_path / "training_states/5.state")
    kept = state["best"]
    assert kept["metadata"]["iteration"] == str(state["progress"]["best_step"])
    # it goes on and leaves better weights, of a course that is then given up
    resumed(tmp_path, checkpoints={"keep_states": 9}).fit(StopSignal())
    assert best_of(tmp_path)[0] != kept["metadata"]["iteration"]
    make_trainer(tmp_path).load_state_dict(state)
    step, weights = best_of(tmp_path)
    assert step == kept["metadata"]["iteration"]
    assert all(torch.equal(tensor, weights[name]) for name, tensor in kept["weights"].items())


def test_best_weights_of_another_course_are_never_loaded_and_that_is_said(tmp_path, caplog):
    trainer = make_trainer(tmp_path, total=5)
    trainer.fit(StopSignal())
    trainer.progress.best_step = 4711  # as if the file were of a course that was given up
    before = {n: t.clone() for n, t in trainer.model.networks.generator.net.state_dict().items()}
    trainer._effects.stop(Stop(rule="broken", reason="a test", restore_best=True), trainer.progress)
    now = trainer.model.networks.generator.net.state_dict()
    assert all(torch.equal(tensor, now[name]) for name, tensor in before.items())
    assert "no best weights of this course" in caplog.text


def test_a_state_of_before_the_best_weights_were_in_it_takes_the_numbered_file_or_none(tmp_path, caplog):
    trainer = make_trainer(tmp_path, total=8, checkpoints={"keep_states": 9})
    trainer.fit(StopSignal())
    state = read_state(tmp_path / "training_states/8.state")
    assert state.pop("best")["metadata"]["iteration"] == "8"
    (tmp_path / "models/net_g_best.safetensors").write_bytes(
        (tmp_path / "models/net_g_ema_5.safetensors").read_bytes()
    )
    make_trainer(tmp_path).load_state_dict(state)
    assert best_of(tmp_path)[0] == "8"
    (tmp_path / "models/net_g_ema_8.safetensors").unlink()
    (tmp_path / "models/net_g_8.safetensors").unlink()
    (tmp_path / "models/net_g_best.safetensors").write_bytes(
        (tmp_path / "models/net_g_ema_5.safetensors").read_bytes()
    )
    make_trainer(tmp_path).load_state_dict(state)
    assert best_of(tmp_path) is None and "are lost" in caplog.text


@pytest.mark.parametrize(("keep", "steps"), [(1, [20]), (2, [15, 20]), ("all", [5, 10, 15, 20])])
def test_as_many_numbered_weights_stay_as_were_asked_for(tmp_path, keep, steps):
    make_trainer(tmp_path, checkpoints={"keep_models": keep}).fit(StopSignal())
    for prefix in ("net_g_", "net_g_ema_"):
        numbers = [
            path.stem.removeprefix(prefix) for path in (tmp_path / "models").glob(f"{prefix}*.safetensors")
        ]
        assert sorted(int(number) for number in numbers if number.isdigit()) == steps


def test_the_best_weights_replace_those_of_the_other_format(tmp_path):
    for suffix in ("safetensors", "pth"):
        make_trainer(tmp_path, total=4, checkpoints={"suffix": suffix}).fit(StopSignal())
        assert {path.suffix for path in (tmp_path / "models").glob("net_g_best*")} == {f".{suffix}"}


def test_the_learning_rate_follows_the_samples_and_not_the_steps(tmp_path):
    trainer = make_trainer(tmp_path, total=6, controls=Controls(batch=8, micro_batch=8, lq_size=8))
    trainer.fit(StopSignal())  # a batch of twice the configured samples: three steps are six of time
    assert (trainer.progress.step, trainer.progress.time) == (3, 6.0)
    assert trainer.model.networks.generator.learning_rate == pytest.approx(1e-2 * 4 / 5, rel=0.26)
    model = make_model(window=3)
    model.networks.set_learning_rates(4.0, 1.0)
    assert trainer.model.networks.generator.learning_rate == model.networks.generator.learning_rate


def test_validation_without_ema_is_in_evaluation_mode():
    networks = make_model(ema=False).networks
    image = torch.rand(1, 3, 9, 9, dtype=torch.float64)
    network = EvalNetwork(networks.eval_net, networks.facts)
    outputs = [network.upscale(image) for _ in range(2)]
    assert networks.generator.net.training
    assert torch.equal(*outputs)  # dropout would differ


class Broken(Waves):
    def __init__(self, *broken):
        self.broken = broken

    def read(self, draw, lq_size):
        if draw.index in self.broken:
            raise ImageError(f"wave{draw.index} is broken")
        return super().read(draw, lq_size)


def test_a_second_unreadable_file_of_a_small_set_ends_a_run_in_the_first_pass(tmp_path):
    trainer = make_trainer(tmp_path, source=Broken(3, 7))
    with pytest.raises(
        DataError, match=r"2 files .* the 11 images, more than 1%; the last: wave[37] is broken"
    ):
        trainer.fit(StopSignal())
    assert trainer.progress.position <= 16  # it is noticed with the batch and the next


def test_one_unreadable_file_ends_no_run(tmp_path):
    trainer = make_trainer(tmp_path, source=Broken(3))
    trainer.fit(StopSignal())
    assert trainer.progress.replaced == trainer.progress.position // 11


def test_files_that_cannot_be_read_are_counted_once_and_for_a_pass():
    progress = Progress(position=1)
    progress.note_replaced(["a", "b", "c", "a"], images=300, world_size=1)  # 1 %
    progress.position = 300
    progress.note_replaced(["a", "b", "c"], images=300, world_size=1)
    assert (progress.replaced, len(progress.unreadable)) == (7, 3)
    for position in (600, 900):  # other files in every pass, as of a folder on a network
        progress.position = position
        progress.note_replaced([f"d{position}", "e", "f"], images=300, world_size=1)
    with pytest.raises(DataError, match="^4 files"):
        progress.note_replaced(["g"], images=300, world_size=1)
    with pytest.raises(DataError, match="^2 files"):
        Progress(position=1).note_replaced(["a", "b"], images=300, world_size=2)


def test_a_plateau_schedule_goes_on_from_what_it_had_seen(tmp_path):
    def plateau():
        return SCHEDULES.build(
            {"type": "ReduceLROnPlateau", "patience": 0, "monitor": "psnr"}, base_lr=1e-2, total_iter=20
        )

    first = make_trainer(tmp_path, total=5, schedule=plateau())
    for score in (30.0, 20.0, 10.0):
        first.parts.plateau.observe(score, higher_is_better=True)
    first.fit(StopSignal())
    second = make_trainer(tmp_path, schedule=plateau())
    fresh = second.parts.plateau.state
    saved = read_state(tmp_path / "training_states/5.state")
    second.load_state_dict(saved)
    assert to_plain(second.parts.plateau.state) == saved["plateau"] != to_plain(fresh)


class Second(DistributedContext):
    """The second of two processes; `others` is what the first one gives."""

    def __init__(self, others):
        super().__init__()
        self.rank, self.world_size, self._others = 1, 2, others

    def gather(self, value):
        return [self._others, value]


def shown(number):
    gt = np.full((8, 8, 3), number, np.uint8)
    return Shown("val", f"image{number}", number, halved(gt), gt, torch.rand(1, 3, 8, 8), 2)


def test_the_strips_of_all_processes_are_shown_and_each_writes_its_files(tmp_path):
    first = ValidationImages(tmp_path, suffix="_x", strips=True, processes=DistributedContext())
    for number in (0, 2):
        first.taker(7)(shown(number))
    second = ValidationImages(tmp_path, suffix="_x", strips=True, processes=Second(first.collect()))
    for number in (1, 3):
        second.taker(7)(shown(number))
    assert [strip.tag for strip in second.collect()] == [f"val/image{number}" for number in range(4)]
    assert sorted(path.name for path in tmp_path.rglob("*.png")) == [f"image{n}_7_x.png" for n in range(4)]


def test_processes_with_other_weights_are_noticed():
    networks, same, other = (make_model().networks for _ in range(3))
    next(iter(other.generator.net.parameters())).data[0, 0, 0, 0] += 1e-9
    sums = []

    class Kept(Second):
        def gather(self, value):
            sums.append(value)
            return [sums[0], value]

    two = Kept(None)
    assert processes_agree(networks, two) and processes_agree(same, two)
    assert not processes_agree(other, two)


def test_the_records_of_one_interval_agree(tmp_path):
    make_trainer(tmp_path).fit(StopSignal())
    metrics, health = (
        [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("metrics", "health")
    )
    trained = [line for line in metrics if line["kind"] == "train"]
    lines = [line for line in health if line["kind"] == "train"]
    assert len(trained) == len(lines) == 10
    for record, line in zip(trained, lines, strict=True):
        assert record["speed"]["it_per_s"] == line["it_per_s"]
        assert record["speed"]["data_wait_share"] == line["data_wait_share"]
        assert math.isclose(record["loss"]["total"], line["loss"])


def test_adversarial_runs_may_have_more_edges_than_the_truth():
    from dataclasses import replace

    from tracking.test_health import health_of

    health = health_of(judged_losses=["l1"])
    assert health.numbers().adversarial and not health_of().numbers().adversarial
    edges = replace(health.numbers(), edge_ratio=1.15)
    assert [f.verdict for f in diagnose(edges) if f.quantity == "edge_ratio"] == ["ok"]


def test_the_options_of_what_is_kept_and_measured_are_obeyed(tmp_path):
    small_run.write_data(tmp_path)
    configuration = small_run.options(tmp_path, total_iter=8)
    configuration["val"] |= {"metrics_enabled": False, "save_img": True, "val_freq": 4}
    configuration["logger"] |= {
        "save_checkpoint_freq": 2,
        "keep_training_states": 2,
        "keep_models": 1,
        "save_checkpoint_format": "pth",
    }
    file = small_run.write_options(tmp_path, configuration)
    assert small_run.train(file).returncode == 0
    root = tmp_path / "experiments/small"
    assert {p.name for p in (root / "training_states").iterdir()} == {"6.state", "8.state"}
    assert {p.suffix for p in (root / "models").iterdir()} == {".pth"}
    assert {p.stem.rpartition("_")[2] for p in (root / "models").iterdir()} == {"8"}
    assert not list((root / "models").glob("net_g_best*"))
    kinds = {json.loads(line)["kind"] for line in (root / "metrics.jsonl").read_text().splitlines()}
    assert kinds == {"train"}
    assert len(list((root / "visualization").rglob("*.png"))) == 4  # two images, twice
