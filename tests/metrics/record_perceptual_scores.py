"""Writes tests/golden/perceptual_scores.json: LPIPS and DISTS of photographs by their authors' packages.

    pip install lpips==0.1.4 DISTS-pytorch==0.1      (in an environment of its own)
    python tests/metrics/record_perceptual_scores.py DATA

DATA is the folder of photographs and weights that the tests read. The networks get the weights that are there,
stored in fp16. DISTS is recorded twice: with its authors' weights, and with `plain_weights`, which need no file.
"""

import json
import sys
from pathlib import Path
from unittest import mock

import lpips
import torch
import torchvision
from DISTS_pytorch import DISTS
from perceptual_pairs import pairs, plain_weights
from safetensors.torch import load_file

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "perceptual_scores.json"


def filled(kind, file):
    """torchvision's network without its classifier's weights."""
    net = getattr(torchvision.models, kind)(weights=None)
    net.load_state_dict({k: v.float() for k, v in load_file(file).items()}, strict=False)
    return net


@torch.no_grad()
def main(data):
    networks = {
        kind: filled(kind, data / f"weights/{kind}_features_imagenet_fp16.safetensors")
        for kind in ("alexnet", "vgg16")
    }
    distances = {}
    for net, kind in (("alex", "alexnet"), ("vgg", "vgg16")):
        with mock.patch.object(torchvision.models, kind, lambda kind=kind, **_: networks[kind]):
            distances[f"lpips_{net}"] = lpips.LPIPS(net=net, verbose=False)
    with mock.patch.object(torchvision.models, "vgg16", lambda **_: networks["vgg16"]):
        for label in ("dists", "dists_plain_weights"):
            distances[label] = DISTS(load_weights=label == "dists")
    for name, value in plain_weights().items():
        getattr(distances["dists_plain_weights"], name).data = value
    scores = {label: {} for label in distances}
    for name, sr, gt in pairs(data):
        for label, distance in distances.items():
            options = {"normalize": True} if label.startswith("lpips") else {}
            scores[label][name] = round(distance(sr, gt, **options).item(), 7)
    made = "python tests/metrics/record_perceptual_scores.py DATA; lpips 0.1.4, DISTS-pytorch 0.1"
    GOLDEN.write_text(json.dumps({"made_by": made, "scores": scores}, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
