"""The typed tree of options: every field says what it does, in which unit, and what its default is.

The JSON schema and `docs/configuration.md` are made from these classes. Parts with a `type` (networks,
losses, ...) stay open mappings: their parameters are checked by the registries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr

from traiNNer.options.dataset_fields import DatasetOptions
from traiNNer.options.degradation import DegradationOptions
from traiNNer.options.document import DERIVED, Draft, Note
from traiNNer.options.kinds import (
    AutoCount,
    AutoSize,
    Count,
    FilePath,
    LossSpec,
    OptimizerSpec,
    Size,
    Spec,
    Whole,
    at_most,
    or_word,
)
from traiNNer.options.section import Section
from traiNNer.options.yaml_source import Mark, Path

OPTIMIZER: OptimizerSpec = {"type": "AdamW", "lr": 2e-4}
"""The optimizer of a run that names none."""


class PathOptions(Section):
    """Where results go and weights come from; relative to the current directory. Folders may be left out."""

    experiments_root: FilePath = "experiments"
    """Folder that holds the folder of each run."""
    models: FilePath | None = None
    """Folder of weights; in the run's folder by default, like the following ones."""
    training_states: FilePath | None = None
    """Folder of training states."""
    log: FilePath | None = None
    """Folder of the text log."""
    visualization: FilePath | None = None
    """Folder of validation images."""
    results_root: FilePath = "results"
    """Folder that holds the results of `test.py`."""
    pretrain_network_g: FilePath | None = None
    """Weights to start the generator from (.safetensors or .pth): a file, or its address (`https://...`, with
    `#sha256=...` after it to be checked), which is downloaded once."""
    param_key_g: str | None = None
    """Key that holds the weights inside a .pth file; found by itself by default."""
    strict_load_g: bool = True
    """Refuse weights whose names or shapes differ; false: load what fits and list the rest."""
    pretrain_network_d: FilePath | None = None
    """Weights to start the discriminator from, likewise."""
    param_key_d: str | None = None
    """As `param_key_g`."""
    strict_load_d: bool = True
    """As `strict_load_g`."""
    pretrain_network_g_teacher: FilePath | None = None
    """Weights of a teacher, with whose output losses of `target: teacher` compare; any file that is recognised."""
    param_key_g_teacher: str | None = None
    """As `param_key_g`."""
    resume_state: FilePath | None = None
    """Training state to go on from."""


class TrainOptions(Section):
    """How long and by what rules to train."""

    total_iter: Count
    """Optimizer steps at the configured batch size."""
    optim_g: OptimizerSpec = OPTIMIZER
    """Optimizer of the generator: `type`, `lr` (peak learning rate) and the parameters of that type."""
    optim_d: OptimizerSpec | None = None
    """Optimizer of the discriminator; by default as `optim_g`. The warm-up is for both."""
    scheduler_d: Spec | None = None
    """How its learning rate goes over the run; by default like that of the generator (`scheduler`)."""
    net_d_start_iter: Size | None = None
    """First step at which the discriminator trains, in whole tens (15 is 10), and before which no loss asks it; by
    default it trains while one is on (see `start_iter` of losses)."""
    net_d_iters: Count = 1
    """Steps of the discriminator for each update of the generator, which is held still in between."""
    net_d_init_iters: Size = 0
    """Steps at the beginning of the run in which only the discriminator moves."""
    net_d_reg_every: Count = 1
    """Steps between gradient penalties of the discriminator, which weigh as many times as much."""
    scheduler: Spec | None = None
    """How the learning rate goes over the run; constant by default."""
    warmup_iter: Annotated[Whole, Field(ge=-1)] = -1
    """Steps over which the learning rate rises from zero; -1: none."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest decay of the EMA of the weights (0.999 is common); 0: no average."""
    ema_update_after_step: Size = 0
    """Steps before the EMA begins."""
    ema_power: Annotated[float, Field(gt=0)] = 0.75
    """The decay is 1 - (1 + step) ** -power up to `ema_decay`. traiNNer-redux has 10: constant in effect."""
    grad_clip: bool = False
    """Limit the norm of each network's gradient to `grad_clip_max_norm`."""
    grad_clip_max_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest L2 norm of a network's gradient, 1.0 by default; a ceiling for adaptive clipping where given."""
    losses: list[LossSpec] = []
    """Losses: each a `type`, a `loss_weight` (1 by default) and the parameters of that type."""
    use_moa: bool = False
    """Mix the samples of each batch by one of `moa_augs`, drawn anew every step."""
    moa_augs: list[Literal["none", "mixup", "cutmix", "resizemix", "cutblur"]] = [
        "none", "mixup", "cutmix", "resizemix", "cutblur",
    ]  # fmt: skip
    """What a step may do to its batch, with `use_moa`. `mixup` fades samples into each other; `cutmix` and
    `resizemix` paste a part or the whole of another one; `cutblur` puts the clean image at the size of the LQ
    into a part of the LQ."""
    moa_probs: list[Annotated[float, Field(ge=0)]] = [0.4, 0.084, 0.084, 0.084, 0.348]
    """Probability of each of `moa_augs`; together 1."""
    training_automations: dict[str, dict[str, Any]] = {}
    """Automations by class name, each with `enabled` and its options."""
    dynamic_loss_scheduling: dict[str, Any] | None = None
    """The automation that holds or sets the share of each loss in the gradient."""


class ValOptions(Section):
    """How to validate."""

    val_enabled: bool = True
    """Validate during training, where there is a validation set."""
    val_freq: AutoCount = "auto"
    """Steps between validations; auto: a twentieth of the run, at least 100 and at most 5000."""
    save_img: bool = False
    """Write the validation images as files."""
    suffix: str | None = None
    """Added to the names of written images."""
    tile_size: AutoSize = 0
    """Side of the tiles (low-resolution pixels) in which images are computed; 0: whole images, in tiles where
    memory runs out; auto: what fits into memory, found out beforehand."""
    tile_overlap: Size = 0
    """Low-resolution pixels of context on each side of a tile; 0: 32."""
    metrics_enabled: bool = True
    """Compute metrics; without them validation only writes images, where `save_img` asks for it."""
    metrics: dict[str, Spec] = {"psnr": {"type": "psnr"}, "ssim": {"type": "ssim"}}
    """Metrics by label; the `type` is the label where it is not given."""


class WandbOptions(Section):
    """Weights & Biases (`pip install wandb`)."""

    project: str | None = None
    """The project there that shows the run; by default none does."""
    resume_id: str | None = None
    """The id of the run there to go on with; by default a resumed run goes on with its own."""


class LogOptions(Section):
    """What to write, and how often."""

    print_freq: Count = 100
    """Steps between log lines."""
    save_checkpoint_freq: AutoCount = "auto"
    """Steps between checkpoints; auto: a tenth of the run, at least 100 and at most 5000."""
    use_tb_logger: bool = True
    """Write TensorBoard records."""
    wandb: WandbOptions = WandbOptions()
    """Show the run on Weights & Biases."""
    save_checkpoint_format: Literal["safetensors", "pth"] = "safetensors"
    """Format of the weights."""
    keep_training_states: Count = 3
    """How many of the newest training states stay."""
    keep_models: Annotated[Count | Literal["all"], or_word("all", 1)] = "all"
    """How many of the newest weights stay, or `all`; the best always stay."""
    on_end: str | None = None
    """A command that the shell runs when the training has ended; its `TRAINNER_STATUS` tells how."""


@dataclass(frozen=True)
class Provenance:
    """Where values come from. Trees of equal values are equal whatever it says."""

    marks: Mapping[Path, Mark] = field(default_factory=dict, compare=False)
    notes: tuple[Note, ...] = field(default=(), compare=False)


class Options(Section):
    """Everything that a configuration says, checked, with defaults."""

    name: str
    """Name of the run and of its folder."""
    scale: Annotated[Count, at_most(64)]
    """How many times the output is larger than the input."""
    num_gpu: Annotated[Size | Literal["auto"], or_word("auto", 0, 1024)] = "auto"
    """GPUs to use; 0: the CPU; auto: what is there. Several are started by torchrun, one process each."""
    manual_seed: AutoSize = "auto"
    """Seed of everything random; auto: 0."""
    deterministic: bool = False
    """Use only algorithms that give the same bits every time; slower."""
    use_amp: bool = False
    """Compute in half precision where that is safe."""
    amp_bf16: bool = False
    """bfloat16 instead of float16 with `use_amp`."""
    use_channels_last: bool = True
    """Keep images as (n, h, w, c) in memory, the faster order for most networks."""
    fast_matmul: bool = False
    """Allow TF32 in float32 products: faster, about three decimal digits."""
    use_compile: bool = False
    """Compile the network: faster steps after a slow first one."""
    compile_mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = (
        "max-autotune-no-cudagraphs"
    )
    """What torch.compile may try; those with `max-autotune` compile longest. `reduce-overhead` and `max-autotune`
    take CUDA graphs, whose gradients are copied where a step has several micro-batches."""
    detect_anomaly: bool = False
    """Find the operation that makes a NaN; very slow."""
    auto_resume: bool = False
    """Go on from the newest whole training state of the run."""
    launcher: Literal["none", "pytorch"] | None = None
    """`pytorch`: this process was started by torchrun."""
    datasets: dict[str, DatasetOptions] = {}
    """Data sets: `train`, and any number whose keys begin with `val` or `test`; `val: auto` sets some of the
    training images aside."""
    degradation: DegradationOptions | None = None
    """How the sets of type `RealESRGANDataset` and `RealESRGANPairedDataset` make their low-quality images;
    `medium` where they have nothing to go by."""
    network_g: Spec | None = None
    """The generator: `type` and the parameters of that type."""
    network_d: Spec | None = None
    """The discriminator: `type` and the parameters of that type. An adversarial loss has to ask it."""
    network_g_teacher: Spec | None = None
    """The teacher: `type` and parameters, or `auto`, as by default, where its file tells them."""
    path: PathOptions = PathOptions()
    """Folders and files."""
    train: TrainOptions | None = None
    """The training; not needed for testing."""
    val: ValOptions = ValOptions()
    """Validation."""
    logger: LogOptions = LogOptions()
    """Logs and checkpoints."""

    _provenance: Provenance = PrivateAttr(default_factory=Provenance)

    @property
    def notes(self) -> tuple[Note, ...]:
        """What is worth saying about the configuration, for the log."""
        return self._provenance.notes

    @property
    def color(self) -> Literal["rgb", "y", "grey"]:
        """What the network sees of the images of all sets."""
        for data in self.datasets.values():
            return data.color
        return "rgb"

    def origin(self, path: Path) -> str:
        """Where a value comes from: `default`, `file line 12`, `command line` or `derived`."""
        mark = self._provenance.marks.get(path)
        return "default" if mark is None else f"file line {mark.line}" if mark.line else mark.source

    def with_derived(self, values: Mapping[str, Any]) -> Options:
        """The options with values that the program found, by dotted path such as `datasets.train.lq_size`."""
        draft = Draft(self.model_dump(), dict(self._provenance.marks))
        for dotted, value in values.items():
            path = tuple(dotted.split("."))
            draft.put(path, value, {(): Mark(DERIVED, path)})
        return Options.model_validate(draft.tree).with_provenance(Provenance(draft.marks, self.notes))

    def with_provenance(self, provenance: Provenance) -> Options:
        """The same options, knowing where they come from."""
        known = self.model_copy()
        known._provenance = provenance
        return known
