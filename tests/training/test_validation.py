"""Validation: images are read ahead, the device is read once a set, and nothing is made that nobody looks at."""

import threading

import pytest
import torch
from tiny import CPU, FACTS, Waves, tiny_network

from traiNNer.data.images.image_io import ImageError
from traiNNer.inference import images as validation_images
from traiNNer.inference.network import EvalNetwork
from traiNNer.metrics import METRICS
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.training.validation import ValidationSet, Validator

LONG = 20  # seconds; a test that fails waits for so long


class Counted(Waves):
    """Waves that remember which of them were read."""

    def __init__(self):
        self.read = []

    def pair(self, index):
        self.read.append(index)
        return super().pair(index)


def validator(*sets):
    metrics = {name: METRICS.build({"type": name, "crop_border": 2}) for name in ("psnr", "ssim")}
    named = [ValidationSet(f"set{number}", images) for number, images in enumerate(sets)]
    return Validator(named, metrics, scale=2, precision=CPU, processes=DistributedContext())


def tiny_model():
    return EvalNetwork(tiny_network(), FACTS)


def run(validator, model=None, **options):
    return validator.run(model or tiny_model(), step=0, position=0, lr_exhausted=False, **options)


def test_every_image_is_read_once_and_in_order_and_once_more_in_a_run_for_bicubic():
    first, second = Counted(), Counted()
    both = validator(first, second)
    run(both)
    event = run(both)
    assert first.read == second.read == [*range(11), *range(11), *range(11)]
    assert event.sets["set0"].metrics == event.sets["set1"].metrics


class Darker(Waves):
    """Images of the same names and sizes with other pixels, as of another degradation."""

    def pair(self, index):
        lq, gt, name = super().pair(index)
        return lq // 2, gt, name


def test_other_pixels_under_the_same_names_are_other_images():
    before, after = validator(Waves()), validator(Darker())
    old = run(before)
    after.load_state_dict(before.state_dict())
    new = run(after)
    assert new.sets["set0"].baseline == run(validator(Darker())).sets["set0"].baseline
    assert new.sets["set0"].baseline != old.sets["set0"].baseline
    assert before.headline_identity(old) != after.headline_identity(new)


def test_the_next_image_is_read_while_one_is_computed():
    model = tiny_model()
    reached = [threading.Event() for _ in range(11)]

    class Announced(Waves):
        def pair(self, index):
            reached[index].set()
            return super().pair(index)

    upscale, computed = model.upscale, iter(range(11))

    def upscale_once_the_next_is_read(lq, **options):
        index = next(computed)
        assert index == 10 or reached[index + 1].wait(LONG)
        return upscale(lq, **options)

    model.upscale = upscale_once_the_next_is_read
    run(validator(Announced()), model)


def test_an_image_that_cannot_be_read_is_said():
    class Broken(Waves):
        def pair(self, index):
            if index == 3:
                raise ImageError("wave3 is broken")
            return super().pair(index)

    with pytest.raises(ImageError, match="wave3 is broken"):
        run(validator(Broken()))


def test_the_device_is_read_once_a_set_and_once_for_the_weights(monkeypatch):
    reads = []
    for name in ("item", "cpu", "numpy", "__bool__", "__float__", "__int__"):
        original = getattr(torch.Tensor, name)

        def counted(self, *args, _name=name, _original=original, **options):
            reads.append(_name)
            return _original(self, *args, **options)

        monkeypatch.setattr(torch.Tensor, name, counted)
    both, model = validator(Waves(), Waves()), tiny_model()
    run(both, model)
    reads.clear()
    run(both, model)
    assert sorted(reads) == ["__bool__", "cpu", "cpu"]


def test_pictures_are_made_only_for_those_who_look(monkeypatch):
    made = []
    imresize = validation_images.imresize
    monkeypatch.setattr(
        validation_images, "imresize", lambda image, scale: made.append(image) or imresize(image, scale)
    )
    images = validator(Waves())
    run(images)  # the scores of bicubic
    assert len(made) == 11
    seen = []

    def look(shown):
        if shown.number == 4:
            seen.append((shown.bicubic, shown.output, shown.bicubic))

    run(images, show=look)
    assert len(made) == 12
    ((bicubic, output, again),) = seen
    assert bicubic.shape == output.shape == (40, 40, 3) and again is bicubic
    assert output.dtype == "uint8" and output.std() > 1


def test_a_network_in_training_mode_is_measured_in_evaluation_mode_and_goes_on_training():
    resting, training = tiny_model(), tiny_model()
    resting.net.eval()
    training.net.train()  # its dropout would show
    assert run(validator(Waves()), resting).sets == run(validator(Waves()), training).sets
    assert training.net.training and not resting.net.training
