"""One of several processes of a training, which keeps what it decided and may run out of memory."""

import hashlib
import json
import os
from pathlib import Path

import torch

from traiNNer.automations import Supervisor
from traiNNer.cli import train as launch
from traiNNer.control import to_plain
from traiNNer.models.sr_model import SRModel
from traiNNer.optim.learner import Learner
from traiNNer.training.trainer import Trainer


def record_decisions(file):
    """Every event with what the automations answered, and the weights of every saved step."""
    react, save = Supervisor.react, Trainer.save

    def react_and_record(self, event, controls):
        proposals = react(self, event, controls)
        answers = [[p.automation, p.applied, to_plain(p.decision)] for p in proposals]
        file.write(json.dumps([type(event).__name__, event.step, answers]) + "\n")
        return proposals

    def save_and_record(self):
        weights = b"".join(p.detach().numpy().tobytes() for p in self.model.generator.net.parameters())
        file.write(json.dumps(["weights", self.progress.step, hashlib.sha256(weights).hexdigest()]) + "\n")
        save(self)

    Supervisor.react, Trainer.save = react_and_record, save_and_record


def fail_on_the_second_process():
    """Four samples do not fit in the forward pass, and two do not leave room for the optimizer's state."""
    forward, step = SRModel._forward, Learner.step

    def failing_forward(self, lq, *rest):
        if len(lq) > 2:
            raise torch.OutOfMemoryError("pretend")
        failing_forward.largest = len(lq)
        return forward(self, lq, *rest)

    def failing_step(self, *args, **kwargs):
        update = step(self, *args, **kwargs)
        if failing_forward.largest > 1:
            raise torch.OutOfMemoryError("pretend")
        return update

    SRModel._forward, Learner.step = failing_forward, failing_step


def main(folder, failing, arguments):
    """Train with records in `folder`; memory runs out where `failing` is `fail`. Returns the exit status."""
    rank = os.environ["RANK"]
    if failing == "fail" and rank == "1":
        fail_on_the_second_process()
    with Path(folder, f"{rank}.jsonl").open("w") as file:
        record_decisions(file)
        return launch.train(arguments)
