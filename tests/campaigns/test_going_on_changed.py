"""A run that goes on after something changed says what; where nothing did, it ends in the same bits."""

import random
import shutil

import pytest
from campaigns.attempts import Attempts, Findings
from safetensors.torch import load_file

COUNT = 120
STATES = {"save_checkpoint_freq": 2, "keep_training_states": 9, "print_freq": 2}
SETTINGS = {
    "train.optim_g.lr": (1e-4, 0.5, 1e-12),
    "train.ema_decay": (0.99, 0.5),
    "train.total_iter": (8, 12),
    "train.losses": ([{"type": "MSELoss"}], [{"type": "L1Loss"}, {"type": "MSSIMLoss"}]),
    "train.scheduler": ({"type": "MultiStepLR", "milestones": [5]},),
    "manual_seed": (7, 8),
    "datasets.train.batch_size_per_gpu": (2, 5),
    "datasets.train.lq_size": (8, 20),
}
"""What changes the course of a run."""
FREE = {
    "logger.print_freq": (1, 3),
    "logger.save_checkpoint_freq": (1, 3),
    "datasets.train.num_worker_per_gpu": (1,),
    "datasets.train.cache": ("off", "disk"),
    "val.val_freq": (3, 100),
}
"""What changes nothing that is computed."""
NETWORKS = {
    "network_g.num_feat": (3, 8),
    "network_g.num_conv": (2,),
    "network_g.type": ("span", "realplksr_s"),
}


def put(options, place, value):
    *above, last = place.split(".")
    for key in above:
        options = options.setdefault(key, {})
    options[last] = value


def image_gone(run, data, rng):
    image = rng.choice(sorted((data / "train/HR").iterdir()))
    image.unlink()
    (data / "train/LRx2" / image.name).unlink()


def image_more(run, data, rng):
    image = rng.choice(sorted((data / "train/HR").iterdir()))
    for part in ("HR", "LRx2"):
        shutil.copy(data / "train" / part / image.name, data / "train" / part / "more.png")


def image_other(run, data, rng):
    first, second = rng.sample(sorted((data / "train/HR").iterdir()), 2)
    for part in ("HR", "LRx2"):
        shutil.copy(data / "train" / part / first.name, data / "train" / part / second.name)


def newest_damaged(run, data, rng):
    path = run / "training_states/4.state"
    content = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        del content[rng.randrange(len(content)) :]
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(content))


def records_cut(run, data, rng):
    """As after a power loss: what was appended last is not there."""
    path = rng.choice([p for p in run.glob("*.jsonl") if p.stat().st_size])
    path.write_bytes(path.read_bytes() + b'{"iter": 5, "half')


def best_gone(run, data, rng):
    for path in (run / "models").glob("net_g*best*"):
        path.unlink()


GROUND = (image_gone, image_more, image_other)
WEAR = (newest_damaged, records_cut, best_gone)


@pytest.mark.slow
def test_what_changed_is_said_and_nothing_else_changes(tmp_path):
    attempts, rng, findings = Attempts(tmp_path), random.Random(23), Findings()
    base = attempts.options(total_iter=6, scheduler=None, ema_decay=0.9)
    base["logger"] |= STATES
    _, _, told = attempts.run(base, "whole")
    assert told["status"] == "completed"
    name, root = base["name"], tmp_path / "experiments"
    whole = load_file(root / name / "models/net_g_6.safetensors")
    for of in ("training_states", "models"):
        for path in (root / name / of).glob("*6.*"):
            path.unlink()
    (root / name / "summary.json").unlink()
    shutil.move(root / name, tmp_path / "kept")
    shutil.copytree(tmp_path / "demo", tmp_path / "kept_demo")
    for index in range(COUNT):
        with findings.gather():
            shutil.rmtree(tmp_path / "demo")
            shutil.copytree(tmp_path / "kept_demo", tmp_path / "demo")
            attempts.clear()
            shutil.copytree(tmp_path / "kept", root / name)
            options = attempts.options(total_iter=6, scheduler=None, ema_decay=0.9) | {"name": name}
            options["logger"] |= STATES
            changed = {}
            for of in (SETTINGS, FREE, NETWORKS):
                if rng.random() < (0.15 if of is NETWORKS else 0.5):
                    place = rng.choice(list(of))
                    changed[place] = rng.choice(of[place])
            for place, value in changed.items():
                put(options, place, value)
            ground = rng.choice(GROUND) if rng.random() < 0.3 else None
            refused = bool(changed.keys() & NETWORKS.keys())  # and no file is touched
            wear = rng.choice(WEAR) if rng.random() < 0.5 and not refused else None
            for harm in (ground, wear):
                if harm:
                    harm(root / name, tmp_path / "demo", rng)
            about = index, changed, ground, wear
            done, said, told = attempts.run(options, about, "--auto_resume")
            if refused:
                assert done.returncode == 2, (about, said)
                key = next(key for key in changed if key in NETWORKS)
                assert key.split(".")[0] in said, (
                    about,
                    said,
                )  # or a parameter that the other network has not
                continue
            assert done.returncode == 0, (about, said)
            assert told["status"] == "completed", (about, said)
            for place in changed.keys() & SETTINGS.keys():
                assert place in said, (about, said)
            assert ("not the exact continuation" in said) == bool(ground), (about, said)
            if wear is newest_damaged:
                assert "4.state" in said, (about, said)
            if not ground and not changed.keys() & SETTINGS.keys():
                now = load_file(root / name / "models/net_g_6.safetensors")
                assert all(bool((now[key] == tensor).all()) for key, tensor in whole.items()), about
                assert changed or "differ from the state's" not in said, (about, said)
    findings.none()
