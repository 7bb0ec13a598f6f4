"""The kinds of adversarial training, by the names that users know them by.

r are the logits of the ground truth, f those of the output, s(x) = log(1 + exp(x)), means are over samples and
places, and then over the discriminator's scales. Every type is computed by differences and s alone, which
overflow nowhere in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from traiNNer.losses import LOSSES, LossInputs
from traiNNer.losses.adversarial import AdversarialLoss

GanType: TypeAlias = Literal["vanilla", "lsgan", "hinge", "wgan", "wgan_softplus", "ragan", "r3gan"]

_LABELLED = ("vanilla", "lsgan")
_RELATIVISTIC = ("ragan", "r3gan")
_R3GAN_PENALTY = 3.0  # what traiNNer-redux users have in their files


class _Labels(NamedTuple):
    real: float
    fake: float


_Alone: TypeAlias = Callable[[Tensor, _Labels], Tensor]
_Pair: TypeAlias = Callable[[Tensor, Tensor], Tensor]


@LOSSES.register("GANLoss", "gan", "MultiScaleGANLoss")
class GANLoss(AdversarialLoss):
    """What the generator minimises and, after the semicolon, what the discriminator does.

    - `vanilla`: s(-f); s(-r) + s(f). Goodfellow et al. 2014 (arXiv 1406.2661), section 3, not saturating. With
      labels b for real and a for made images, b s(-x) + (1 - b) s(x), and so for a.
    - `lsgan`: (f - b)^2; (r - b)^2 + (f - a)^2. Mao et al. 2017 (arXiv 1611.04076), which halves both.
    - `hinge`: -f; max(0, 1 - r) + max(0, 1 + f). Lim and Ye 2017 (arXiv 1705.02894).
    - `wgan`: -f; f - r. Arjovsky et al. 2017 (arXiv 1701.07875). Bounded only for a discriminator of bounded
      slope: with spectral normalisation or penalties.
    - `wgan_softplus`: StyleGAN2's name for `vanilla` without labels.
    - `ragan`: (s(r - mean f) + s(mean r - f)) / 2; (s(mean f - r) + s(f - mean r)) / 2. Jolicoeur-Martineau 2018
      (arXiv 1807.00734), halved as in ESRGAN. Those means are of the logits of one micro-batch, so
      micro-batches change it a little; it is the only type of which that is true.
    - `r3gan`: s(r - f); s(f - r), each place with the same place of the ground truth. Huang et al. 2024 (arXiv
      2501.05441), section 2, with both penalties.

    Args:
        gan_type: The kind of adversarial training.
        real_label_val: b, the label of real images; of `vanilla` (0 to 1) and `lsgan`.
        fake_label_val: a, the label of made ones; of the same two.
        r1_weight: Of half the squared gradient of the logits by the ground truth (Mescheder et al. 2018,
            arXiv 1801.04406); 3 for `r3gan` and 0 for all others by default.
        r2_weight: The same by the output.
    """

    def __init__(
        self,
        *,
        gan_type: GanType = "vanilla",
        real_label_val: float = 1.0,
        fake_label_val: float = 0.0,
        r1_weight: float | None = None,
        r2_weight: float | None = None,
    ) -> None:
        super().__init__()
        self.gan_type: GanType = gan_type
        self.labels = _checked_labels(gan_type, real_label_val, fake_label_val)
        usual = _R3GAN_PENALTY if gan_type == "r3gan" else 0.0
        self.gt_penalty = usual if r1_weight is None else r1_weight
        self.output_penalty = usual if r2_weight is None else r2_weight
        if min(self.gt_penalty, self.output_penalty) < 0:
            raise ValueError("GANLoss needs r1_weight and r2_weight of 0 or more")

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar that falls as the discriminator takes the output for real; not zero at equality."""
        fake = inputs.discriminator_on_output.logits
        if self.gan_type in _RELATIVISTIC:
            pair = _PAIRS[self.gan_type]
            real = inputs.discriminator_on_gt.logits
            return _mean_over_scales([pair(f, r) for f, r in zip(fake, real, strict=True)])
        return _mean_over_scales([_GENERATOR[self.gan_type](f, self.labels) for f in fake])

    def discriminator_loss(self, gt: Sequence[Tensor], output: Sequence[Tensor]) -> Tensor:
        """Scalar that falls as logits of `gt` rise over those of `output`."""
        scales = zip(gt, output, strict=True)
        if self.gan_type in _RELATIVISTIC:
            pair = _PAIRS[self.gan_type]
            return _mean_over_scales([pair(real, fake) for real, fake in scales])
        critic = _CRITIC[self.gan_type]
        return _mean_over_scales(
            [critic.real(real, self.labels) + critic.fake(fake, self.labels) for real, fake in scales]
        )


def _checked_labels(gan_type: GanType, real: float, fake: float) -> _Labels:
    if gan_type not in _LABELLED and (real, fake) != (1.0, 0.0):
        raise ValueError(
            f"real_label_val and fake_label_val do nothing with gan_type {gan_type}; leave them out, or take "
            f"gan_type {' or '.join(_LABELLED)}"
        )
    if real <= fake:
        raise ValueError(f"real_label_val ({real}) must be above fake_label_val ({fake})")
    if gan_type == "vanilla" and not 0 <= fake < real <= 1:
        raise ValueError(f"labels of gan_type vanilla are probabilities, 0 to 1 (got {fake} and {real})")
    return _Labels(real, fake)


def _mean_over_scales(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()


# --- each side alone -----------------------------------------------------------------------------------------


class _Critic(NamedTuple):
    real: _Alone
    fake: _Alone


def _cross_entropy(logits: Tensor, label: float) -> Tensor:
    return (label * F.softplus(-logits) + (1 - label) * F.softplus(logits)).mean()


def _square(logits: Tensor, label: float) -> Tensor:
    return (logits - label).square().mean()


_GENERATOR: dict[str, _Alone] = {
    "vanilla": lambda f, labels: _cross_entropy(f, labels.real),
    "lsgan": lambda f, labels: _square(f, labels.real),
    "hinge": lambda f, _: -f.mean(),
    "wgan": lambda f, _: -f.mean(),
    "wgan_softplus": lambda f, _: F.softplus(-f).mean(),
}
_CRITIC = {
    "vanilla": _Critic(
        lambda r, labels: _cross_entropy(r, labels.real), lambda f, labels: _cross_entropy(f, labels.fake)
    ),
    "lsgan": _Critic(lambda r, labels: _square(r, labels.real), lambda f, labels: _square(f, labels.fake)),
    "hinge": _Critic(lambda r, _: F.relu(1 - r).mean(), lambda f, _: F.relu(1 + f).mean()),
    "wgan": _Critic(lambda r, _: -r.mean(), lambda f, _: f.mean()),
    "wgan_softplus": _Critic(lambda r, _: F.softplus(-r).mean(), lambda f, _: F.softplus(f).mean()),
}

# --- one against the other: what wants `up` above `down`; the other network swaps them -------------------------


def _against_means(up: Tensor, down: Tensor) -> Tensor:
    return (F.softplus(down.mean() - up).mean() + F.softplus(down - up.mean()).mean()) / 2


def _against_partner(up: Tensor, down: Tensor) -> Tensor:
    return F.softplus(down - up).mean()


_PAIRS: dict[str, _Pair] = {"ragan": _against_means, "r3gan": _against_partner}
