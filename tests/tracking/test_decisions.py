"""What the log says of each kind of decision, in the words that users search for, and what is recorded of it."""

from dataclasses import dataclass

import pytest
from automations.simulate import controls

from traiNNer.automations import Proposal
from traiNNer.automations.rate.rate_search import SetSearchedRate
from traiNNer.control import (
    Arm,
    Change,
    Clip,
    Decision,
    Ramp,
    Request,
    RollBack,
    RunTrial,
    SetBatch,
    SetClip,
    SetLearningRateFactor,
    SetLossFactors,
    SetLossScale,
    Stop,
)
from traiNNer.tracking.decisions import decision_record, sentence

SAID = {
    "Suggested LR multiplier 0.40 for reason: why; factor 0.5 -> 0.2": SetLearningRateFactor(
        factor=0.2, reason="why"
    ),
    "Suggested LR multiplier 0.20 for reason: blow-up (why); factor 0.5 -> 0.1": RollBack(
        factor=0.1, rewarm=Ramp(0, 8), reason="blow-up (why)"
    ),
    "Batch size adjusted from 8 to 4 due to why; micro-batch, the batch stays 8": SetBatch(
        batch=8, micro_batch=4, lq_size=48, lr_batch_factor=1.0, reason="why"
    ),
    "Batch size adjusted from 8 to 16 due to why; micro-batch 4": SetBatch(
        batch=16, micro_batch=4, lq_size=48, lr_batch_factor=1.0, reason="why"
    ),
    "Patch size adjusted from 48 to 40 due to why; patch in pixels": SetBatch(
        batch=8, micro_batch=8, lq_size=40, lr_batch_factor=1.0, reason="why"
    ),
    "grad_clip_threshold adjusted from 2.0 to 0.25 due to why": SetClip(
        network="g", clip=Clip(0.25, 0.25), old=2.0, reason="why"
    ),
    "grad_clip_threshold_d adjusted from 2.0 to 0.25 due to why": SetClip(
        network="d", clip=Clip(0.25, 0.25), old=2.0, reason="why"
    ),
    "Loss factors adjusted due to why (gan 1 -> 0.5)": SetLossFactors(
        factors={"gan": 0.5}, reason="why (gan 1 -> 0.5)"
    ),
    "Loss scale adjusted from 1.0 to 0.8 due to why": SetLossScale(scale=0.8, reason="why"),
    "Trial of 100 steps: go on against return, since why": RunTrial(
        arms=[Arm("go on", 1.0), Arm("return", 0.25, restored=True)], steps=100, reason="why"
    ),
    "lr adjusted from 0.0005 to 0.002 due to why": SetSearchedRate(factor=4.0, rate=2e-3, reason="why"),
    "Requested grad_clip_threshold x0.5 - why": Request(control="clip", factor=0.5, reason="why"),
    "Early stopping triggered - why": Stop(rule="patience", reason="why"),
}


@pytest.mark.parametrize(("said", "decision"), SAID.items())
def test_a_decision_is_said_in_the_words_that_users_search_for(said, decision):
    assert sentence(decision, controls(lr_factor=0.5)) == said


def test_every_kind_of_decision_is_among_these():
    assert {type(decision) for decision in SAID.values()} == set(Decision.__subclasses__()) - {SetMomentum}


def test_the_record_has_the_factor_that_changes_most():
    decision = SetLossFactors(factors={"a": 2.0, "b": 0.1}, reason="why", statistic=1.0, limit=0.5)
    record = decision_record(7, Proposal("X", decision, applied=True), controls(loss_factor={"b": 0.9}))
    assert record == {
        "iter": 7,
        "automation": "X",
        "parameter": "loss_factor",
        "old": 0.9,
        "new": 0.1,
        "reason": "why",
        "statistic": 1.0,
        "threshold": 0.5,
        "applied": True,
    }


@dataclass(frozen=True, kw_only=True)
class SetMomentum(Decision):
    momentum: float

    def apply(self, controls):
        pass

    def change(self, controls):
        return Change("momentum", 0.9, self.momentum)


def test_a_new_kind_of_decision_needs_no_words_of_its_own():
    said = sentence(SetMomentum(momentum=0.8, reason="why"), controls())
    assert said == "momentum adjusted from 0.9 to 0.8 due to why"
