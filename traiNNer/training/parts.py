"""What a run is made of before it has files or a loop: everything that computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from traiNNer.automations import Supervisor
from traiNNer.automations.data_cost import DataCost
from traiNNer.control import Controls
from traiNNer.data.loader import TrainLoader
from traiNNer.events import RunFacts
from traiNNer.models.sr_model import SRModel
from traiNNer.optim.schedules import ReduceLROnPlateau, Schedule
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.runtime.memory import MemorySource
from traiNNer.training.state import Plan
from traiNNer.training.validation import Validator


@dataclass(frozen=True)
class Parts:
    """Everything that computes."""

    model: SRModel
    """Networks, losses and the step."""
    loader: TrainLoader
    controls: Controls
    """As configured; the only place where anything changes them is `Trainer._apply`."""
    plan: Plan
    schedule: Schedule
    """The base schedule, for what automations are told; the model multiplies it in."""
    supervisor: Supervisor
    facts: RunFacts
    """What the automations know; the key of learned patterns."""
    processes: DistributedContext
    memory: MemorySource
    """Where the share of memory in use comes from."""
    validator: Validator | None
    metadata: Mapping[str, Mapping[str, str]]
    """Per network, what its files of weights say about themselves."""
    settled_from: int = 0
    """Step from which every loss is on, with the weight that it keeps."""
    data_cost: DataCost | None = None
    """Of making samples by a chain of degradations, for what is said of waiting."""

    @property
    def plateau(self) -> ReduceLROnPlateau | None:
        """The schedule again where it follows the validations."""
        return self.schedule if isinstance(self.schedule, ReduceLROnPlateau) else None

    @property
    def headline_name(self) -> str | None:
        """The metric that decides which weights are best."""
        return self.validator.headline_name if self.validator and self.validator.metrics else None
