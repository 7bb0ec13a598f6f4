"""Names that people's configurations contain besides those of the tree in `options`.

Data only: other places and names of an option, names of features that do not exist here, and which
automation owns which option. `options.forms` applies these tables; `*` stands for any key.
"""

from __future__ import annotations

from typing import Any, NamedTuple

# --- other places ------------------------------------------------------------------------------------------

MOVES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("path", "pretrain_network_g_path"), ("path", "pretrain_network_g")),
    (("path", "strict_load"), ("path", "strict_load_g")),
    (("path", "pretrain_model_g"), ("path", "pretrain_network_g")),
    (("network_g", "use_checkpoint"), ("network_g", "use_checkpointing")),
    (("network_g", "use_chk"), ("network_g", "use_checkpointing")),
    (("network_g", "upscale"), ("network_g", "scale")),
    (("compile",), ("use_compile",)),
    (("bfloat16",), ("amp_bf16",)),
    (("gt_size",), ("datasets", "train", "gt_size")),  # Real-ESRGAN, which has it at both places
)
"""Older names of an option: said in a note, then read as the newer name."""

DATASET_NAMES = {
    "meta_info": "meta_info_file",  # Real-ESRGAN
    "use_flip": "use_hflip",  # older files of BasicSR
    "patch_size": "lq_size",  # this and the following: neosr, where it is the side of the low-resolution patch
    "batch_size": "batch_size_per_gpu",
    "accumulate": "accum_iter",
}
"""Other names of options of a data set: said in a note, then read."""

SILENT_MOVES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ((("losses",), ("train", "losses")),)
"""Other places that are as good."""

LOSS_FORMS = (
    "pixel_opt", "mssim_opt", "ms_ssim_l1_opt", "perceptual_opt", "contextual_opt", "dists_opt",
    "hr_inversion_opt", "dinov2_opt", "topiq_opt", "pd_opt", "fd_opt", "ldl_opt", "hsluv_opt", "gan_opt",
    "color_opt", "luma_opt", "avg_opt", "bicubic_opt",
)  # fmt: skip
"""Losses as keys of `train`, the form of BasicSR: each becomes an entry of `train.losses`, as does whatever else
ends in `_opt` and has a `type`."""

INTERNAL: dict[tuple[str, ...], dict[str, Any]] = {
    (): {
        "rank": None, "world_size": None, "is_train": None, "root_path": None, "start_iter": 0,
        "contents": None, "find_unused_parameters": False, "model_type": "SRModel", "print_network": False,
        "dist": False, "dist_params": {"backend": "nccl", "port": 29500},
    },
    ("datasets", "*"): {
        "phase": None, "prefetch_mode": None, "num_prefetch_queue": 1, "persistent_workers": True,
        "dataset_enlarge_ratio": "auto", "use_shuffle": True,
    },
    ("path",): {"resume_models": None},
    ("train", "optim_g"): {"schedule_free": True},
    ("train", "optim_d"): {"schedule_free": True},
    ("val",): {"pbar": True},
    ("logger",): {"save_tb_img": True},
}  # fmt: skip
"""What the program decides by itself, with the value that means nothing: ignored, with a note."""

# --- features that do not exist here -----------------------------------------------------------------------


class Feature(NamedTuple):
    """Options of a feature that is not supported yet."""

    place: tuple[str, ...]
    """The section that holds them."""
    options: dict[str, Any]
    """Names and the values that ask for nothing; null, false and `enabled: false` never do."""
    switch: tuple[str, ...] = ()
    """The option that switches the feature on; where it is written as false, the others ask for nothing."""


FEATURES = (
    Feature((), {
        "input_pixel_format": "rgb", "output_pixel_format": "rgb",
        "network_ae": None, "watch": False, "switch_iter_per_epoch": 1, "onnx": None,
    }),
    Feature(("datasets", "*"), {
        "io_backend": {"type": "disk"}, "mean": [0, 0, 0], "std": [1, 1, 1], "clip_size": None,
    }),
    Feature(("path",), {
        "pretrain_network_ae_path": None, "pretrain_network_g_ema": None,
        "pretrain_network_ae": None, "pretrain_network_ae_ema": None, "pretrain_network_ae_decoder": None,
        "pretrain_network_ae_decoder_ema": None, "ignore_resume_networks": [],
    }),
    Feature(("train",), {
        "optim_ae": None, "ema_switch_iter": 0, "restart_scheduler": False,
        "eco": {"enabled": False, "end_ratio": 0.75, "mode": "full"},
    }),
    Feature(("train",), {
        "adaptive_d": False, "adaptive_d_ema_decay": 0.999, "adaptive_d_threshold": 1.02,
    }, ("train", "adaptive_d")),
    Feature(("train",), {"wavelet_guided": False, "wavelet_init": -1}, ("train", "wavelet_guided")),
    Feature(("train",), {
        "sam": None, "sam_init": -1, "match_lq_colors": False, "match_lq": False,
    }),
    Feature(("train",), {
        "eco_init": 15000, "eco_iters": 80000, "eco_schedule": "sigmoid",
    }, ("train", "eco")),
    Feature(("train",), {"moa_debug": False, "moa_debug_limit": 100}, ("train", "moa_debug")),
)  # fmt: skip

INSTEAD = {
    "io_backend": "give the folder of the images, which are decoded once",
    "mean": "networks see images from 0 to 1; leave it out",
    "std": "networks see images from 0 to 1; leave it out",
    "clip_size": "networks for video do not exist here",
    "input_pixel_format": "datasets.train.color: y trains on luma",
    "output_pixel_format": "datasets.train.color: y trains on luma",
    "match_lq_colors": "LQConsistencyLoss holds the colours of the LQ",
    "match_lq": "LQConsistencyLoss holds the colours of the LQ",
    "onnx": "`trainner export FILE --onnx` makes one of the weights",
}
"""What to do without a feature, where there is something."""

# --- automations -------------------------------------------------------------------------------------------

COMMON_OPTIONS = ("enabled", "max_adjustments", "monitor_only")
"""Options of every automation, which the supervisor reads."""

LOSS_SCHEDULING = "DynamicLossScheduling"

AUTOMATION_OPTIONS: dict[str, tuple[str, ...]] = {
    "IntelligentLearningRateScheduler": (
        "monitor_loss", "monitor_validation", "adaptation_threshold", "plateau_patience",
        "improvement_threshold", "min_lr_factor", "max_lr_factor", "fallback",
    ),
    "DynamicBatchSizeOptimizer": (
        "target_vram_usage", "safety_margin", "adjustment_frequency", "min_batch_size", "max_batch_size",
        "vram_history_size", "tune", "fallback",
    ),
    "AdaptiveGradientClipping": (
        "initial_threshold", "min_threshold", "max_threshold", "adjustment_factor", "monitoring_frequency",
        "gradient_history_size", "fallback",
    ),
    "IntelligentEarlyStopping": (
        "patience", "min_improvement", "min_epochs", "min_iterations", "monitor_metric",
        "warmup_iterations", "cooldown", "fallback",
    ),
    "GradientFlowStabilizer": ("dynamic_loss_scale", "pattern_store"),
    LOSS_SCHEDULING: (
        "auto_calibrate", "momentum", "baseline_iterations", "adaptation_threshold", "adaptation_rate",
        "min_weight", "max_weight",
    ),
}  # fmt: skip
"""Every automation and the options that are its own; tells a misplaced option from an unknown one."""

ALL_AUTOMATIONS = tuple(AUTOMATION_OPTIONS)[:4]
"""What `training_automations: true` switches on."""

AUTOMATION_ALIASES: dict[str, str] = {
    "early_stopping": "IntelligentEarlyStopping",
    "DynamicBatchAndPatchSizeOptimizer": "DynamicBatchSizeOptimizer",
    "auto_vram_management": "DynamicBatchSizeOptimizer",
}
"""Other names of automations; every name is also known in snake_case."""

PATCH_TUNING = {"DynamicBatchAndPatchSizeOptimizer": {"tune": ["lq_size", "micro_batch"]}}
"""Options that an alias stands for besides the automation."""


class OptionAlias(NamedTuple):
    """Another name of an option of an automation."""

    name: str
    stricter: str = ""
    """Where both names are given and differ: `smaller` or `larger` wins with a warning; empty: an error."""


OPTION_ALIASES: dict[str, dict[str, OptionAlias]] = {
    "IntelligentLearningRateScheduler": {
        "adaptation_frequency": OptionAlias("plateau_patience"),
        "patience": OptionAlias("plateau_patience"),
    },
    "IntelligentEarlyStopping": {
        "max_no_improvement": OptionAlias("patience", "smaller"),
        "improvement_threshold": OptionAlias("min_improvement", "larger"),
    },
}

DEPRECATED_OPTIONS = ("lr_log_frequency", "convergence_*", "architecture_hints", "detailed_logging")
"""Options of automations that have no effect any more; `*` ends a prefix."""

REFUSED_OPTIONS = {"manual_weights": "does not exist; set the 'loss_weight' of each entry of train.losses"}
"""Options of automations whose meaning would be lost if they were ignored."""
