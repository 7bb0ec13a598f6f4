"""Losses whose target is another image than the ground truth: a sharpened one, or what a teacher makes."""

from __future__ import annotations

from torch import Tensor, nn

from traiNNer.losses import LossInputs


class SharpTarget(nn.Module):
    """A loss that compares with sharpened ground truth."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, inputs: LossInputs) -> Tensor:
        """What the loss says of the output and the sharpened ground truth."""
        return self.loss(inputs.with_sharp_gt)


class TeacherTarget(nn.Module):
    """A loss that compares with the output of the teacher: response-based distillation (Hinton et al. 2015)."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, inputs: LossInputs) -> Tensor:
        """What the loss says of the output and that of the teacher."""
        return self.loss(inputs.with_teacher_as_gt)
