"""Numbers that are not finite, or hardly: in weights, rates, losses, metrics, frames. They decide nothing."""

import math
import random

import numpy as np
import pytest
import torch
from campaigns.attempts import Attempts, Findings
from safetensors.torch import load_file, save_file

from traiNNer.archs import build_network
from traiNNer.data.images.image_io import write_image

COUNT = 150
FLAT = (0, 255, 128)


def flat_frames(attempts, rng, options):
    """Some validation images of one colour, or met exactly by bicubic upscaling."""
    root = attempts.folder / options["name"]
    for index in range(rng.randint(1, 3)):
        value = rng.choice(FLAT)
        for part, side in (("HR", 64), ("LR", 32)):
            image = np.full((side, side, 3), value, np.uint8)
            if rng.random() < 0.3:
                image[0, 0] = rng.randrange(256)
            write_image(root / part / f"{index}.png", image)
    options["datasets"]["val"] = {"dataroot_gt": str(root / "HR"), "dataroot_lq": str(root / "LR")}
    if rng.random() < 0.3:
        options["val"]["metrics"] = {"psnr": {"crop_border": 0}, "ssim": {}}
    return "flat"


def rates(attempts, rng, options):
    options["train"]["optim_g"] = {"type": "AdamW", "lr": 10.0 ** rng.uniform(-30, 36)}
    options["train"]["total_iter"] = 12
    return "rate"


def weights_of_losses(attempts, rng, options):
    options["train"]["losses"][0]["loss_weight"] = rng.choice(
        (1e-45, 1e-30, 1e20, 1e37, 1e39, 1e300, -1e-9, 0)
    )
    return "loss weight"


def pretrained(attempts, rng, options):
    net = build_network({"type": "compact", "num_feat": 4, "num_conv": 1, "scale": 2})
    state = net.state_dict()
    tensor = state[rng.choice(list(state))].view(-1)
    value = rng.choice((math.nan, math.inf, -math.inf, 3e38, 1e30, 1e-44))
    tensor[rng.randrange(len(tensor))] = value
    path = attempts.folder / f"{options['name']}.safetensors"
    save_file(state, path)
    options["path"]["pretrain_network_g"] = str(path)
    return value


def automations(rng, options):
    if rng.random() < 0.5:
        options["train"]["training_automations"] = {
            "enabled": True,
            "IntelligentLearningRateScheduler": {"enabled": True},
            "IntelligentEarlyStopping": {"enabled": True},
            "GradientFlowStabilizer": {"enabled": True},
            "AdaptiveGradientClipping": {"enabled": True},
        }
    if rng.random() < 0.3:
        options["train"]["scheduler"] = {"type": "ReduceLROnPlateau", "patience": 1}


KINDS = (flat_frames, rates, weights_of_losses, pretrained)


@pytest.mark.slow
def test_no_number_decides_that_is_not_finite(tmp_path):
    attempts, rng = Attempts(tmp_path), random.Random(13)
    ends = []
    findings = Findings()
    for index in range(COUNT):
        with findings.gather():
            options = attempts.options()
            chosen = rng.sample(KINDS, rng.choice((1, 1, 2)))
            about = (
                index,
                [(kind.__name__, kind(attempts, rng, options)) for kind in chosen],
                options["train"],
            )
            automations(rng, options)
            check = rng.random() < 0.25
            done, said, told = attempts.run(options, about, *(["--check"] if check else []))
            ends.append((done.returncode, told.get("status")))
            bad_weights = any(isinstance(v, float) and not math.isfinite(v) for _, v in about[1])
            if bad_weights:
                assert done.returncode == 2, (about, said)
                assert "holds values that are not finite" in said or "loss_weight" in said, (about, said)
            if "best" in told:
                best = told["best"]["value"]
                assert best is None or math.isfinite(best), (about, told)
            if done.returncode == 0 and not check:
                for path in (attempts.folder / "experiments" / options["name"] / "models").glob(
                    "*.safetensors"
                ):
                    assert all(bool(torch.isfinite(t).all()) for t in load_file(path).values()), (about, path)
            attempts.clear()
    findings.none()
    assert len(set(ends)) > 3, ends
