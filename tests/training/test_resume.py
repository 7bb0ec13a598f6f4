"""A run that was stopped or killed and resumed is the same run, in every value and in every record."""

import json
from pathlib import Path

import pytest
from tiny import TIMES, assert_same, make_model, make_trainer

from traiNNer.control import Clip, Controls
from traiNNer.data.mixing import BatchAugmentation
from traiNNer.runtime.signals import StopSignal


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the program runs after it."""


class At(StopSignal):
    """A signal that arrives during the given step of a trainer."""

    def __init__(self, trainer, step):
        self.received = None
        optimize = trainer.model.optimize_parameters

        def optimize_and_receive(batch, now, controls):
            optimize(batch, now, controls)
            if now + 1 == step:
                self.received = "SIGTERM"

        trainer.model.optimize_parameters = optimize_and_receive


def records(folder: Path, name: str):
    lines = (folder / name).read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


def resumed(root: Path, **options):
    trainer = make_trainer(root, **options)
    found = trainer._checkpointer.newest_whole_state()
    if found:
        trainer.load_state_dict(found[1])
    else:
        trainer._recorder.start_new()
    return trainer


def kill_at(trainer, step):
    optimize = trainer.model.optimize_parameters

    def optimize_or_die(batch, now, controls):
        if now == step:
            raise Killed
        optimize(batch, now, controls)

    trainer.model.optimize_parameters = optimize_or_die
    with pytest.raises(Killed):
        trainer.fit(StopSignal())


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kills", [(1,), (6,), (7, 13), (12, 14, 19)])
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(tmp_path, kills, workers):
    whole = make_trainer(tmp_path / "a", workers=workers)
    whole.fit(StopSignal())
    for step in kills:
        kill_at(resumed(tmp_path / "b", workers=workers), step)
    last = resumed(tmp_path / "b", workers=workers)
    last.fit(StopSignal())
    assert_same(whole.state_dict(), last.state_dict(), but=TIMES)
    for name in ("metrics.jsonl", "events.jsonl"):
        assert records(tmp_path / "a", name) == records(tmp_path / "b", name)
    best = [(tmp_path / run / "models/net_g_best.safetensors").read_bytes() for run in "ab"]
    assert best[0] == best[1]


def test_a_resumed_run_mixes_its_batches_as_an_uninterrupted_one(tmp_path):
    def mixing():
        mixtures = {"mixup": 0.3, "cutmix": 0.3, "resizemix": 0.2, "cutblur": 0.2}
        return make_model(window=3, augment=BatchAugmentation(mixtures, seed=7))

    whole, plain = make_trainer(tmp_path / "a", model=mixing()), make_trainer(tmp_path / "c")
    whole.fit(StopSignal())
    plain.fit(StopSignal())
    kill_at(resumed(tmp_path / "b", model=mixing()), 7)
    last = resumed(tmp_path / "b", model=mixing())
    last.fit(StopSignal())
    assert_same(whole.state_dict(), last.state_dict(), but=TIMES)
    assert records(tmp_path / "a", "metrics.jsonl") != records(tmp_path / "c", "metrics.jsonl")


@pytest.mark.parametrize("stops", [(1,), (5,), (7, 8, 13)])
def test_a_run_ended_by_a_signal_goes_on_from_that_very_step(tmp_path, stops):
    whole = make_trainer(tmp_path / "a")
    whole.fit(StopSignal())
    for step in stops:
        part = resumed(tmp_path / "b")
        assert part.fit(At(part, step)).status == "interrupted"
        assert part.progress.step == step
    last = resumed(tmp_path / "b")
    assert last.progress.step == stops[-1]
    last.fit(StopSignal())
    assert_same(whole.state_dict(), last.state_dict(), but=TIMES)
    assert records(tmp_path / "a", "metrics.jsonl") == records(tmp_path / "b", "metrics.jsonl")


def test_a_changed_setting_wins_over_the_saved_state(tmp_path):
    first = make_trainer(tmp_path)
    first.fit(At(first, 6))
    first.controls.lr_factor = 0.5  # learned by an automation, not a setting
    first.controls.batch, first.controls.lr_batch_factor = 16, 2.0  # likewise
    first._saved_at = -1
    first.save()
    second = resumed(tmp_path, controls=Controls(batch=4, micro_batch=4, lq_size=12, clip={"g": Clip(9, 9)}))
    assert (second.controls.micro_batch, second.controls.lq_size) == (4, 12)
    assert second.controls.clip == {"g": Clip(9, 9)}
    assert second.controls.lr_factor == 0.5
    assert (second.controls.batch, second.controls.lr_batch_factor) == (16, 2.0)
    third = resumed(tmp_path, controls=Controls(batch=8, micro_batch=4, lq_size=12))
    assert (third.controls.batch, third.controls.lr_batch_factor) == (8, 1.0)  # that of the new batch


def test_a_damaged_state_is_named_and_passed_over(tmp_path, caplog):
    trainer = make_trainer(tmp_path)
    trainer.fit(StopSignal())
    newest, older = trainer._checkpointer.states()[:2]
    for damage in (lambda data: data[: len(data) // 2], lambda data: flip(data, len(data) // 3)):
        whole = newest.read_bytes()
        newest.write_bytes(damage(whole))
        path, state = trainer._checkpointer.newest_whole_state()
        assert path == older
        assert str(newest) in caplog.text
        newest.write_bytes(whole)
    assert trainer._checkpointer.newest_whole_state()[0] == newest


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
