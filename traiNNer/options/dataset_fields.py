"""The options of a data set."""

from __future__ import annotations

from typing import Annotated, Literal

from traiNNer.options.degradation import Preset
from traiNNer.options.kinds import Count, FilePath, Paths, Size, at_most, or_word
from traiNNer.options.section import Section

MOST_PIXELS = 65_536
"""The longest side of a patch; images of more are not trained on."""


class DatasetOptions(Section):
    """A collection of images: `datasets.train`, or any key that begins with `val` or `test`."""

    name: str
    """What logs call the set; the key by default."""
    type: str = "PairedImageDataset"
    """Kind of data set: `PairedImageDataset` reads both images, `RealESRGANDataset` makes the low-quality one by
    the chain in `degradation`, `RealESRGANPairedDataset` does either, `SingleGtDataset` only shrinks;
    `SingleImageDataset` has low-quality images alone, for validation and tests."""
    lq_resize_mode: Literal["area", "bilinear", "bicubic", "lanczos", "nearest-exact"] = "bicubic"
    """How a `SingleGtDataset` shrinks; antialiased but for `nearest-exact`."""
    degradation_preset: Preset | None = None
    """Preset by which a validation or test set is degraded instead of by the section `degradation`, for scores by
    strength; `type` should be `RealESRGANDataset` or `RealESRGANPairedDataset`."""
    dataroot_gt: Paths = []
    """Folder, or list of folders, of high-resolution images; searched with their subfolders."""
    dataroot_lq: Paths = []
    """Folder or list of folders of low-resolution images, in the order of `dataroot_gt`. A validation
    or test set may have these alone: its images are enlarged, and scored by metrics that need no ground
    truth (`niqe`)."""
    color: Literal["rgb", "y", "grey"] = "rgb"
    """What the network sees of the images: `rgb`; `y`: the luma Y of YCbCr (BT.601, 16 to 235 of 255), as in
    BasicSR and papers; `grey` (or gray): brightness from 0 to 255. The last two take a network of one channel,
    such as `num_in_ch: 1` and `num_out_ch: 1`. The same for all sets: that of `datasets.train`."""
    part: Literal["all", "training", "held_out"] = "all"
    """Which of the images: `held_out`: the few that `val: auto` sets aside, chosen by their names; `training`:
    all but those. What is `held_out` has type and folders of `datasets.train` where it names no folders."""
    meta_info_file: FilePath | None = None
    """A list of the images of `dataroot_gt` to use, a relative path a line, as BasicSR's; all by default."""
    filename_tmpl: str = "{}"
    """Name of a low-resolution image given the stem of its partner, such as `{}x2`."""
    gt_size: Count | None = None
    """Side of the square high-resolution patch (pixels): `lq_size` times the scale."""
    lq_size: Annotated[Count, at_most(MOST_PIXELS)] | None = None
    """Side of the square low-resolution patch (pixels); from `gt_size` by default, 64 without either."""
    batch_size_per_gpu: Annotated[Count | Literal["auto"], or_word("auto", 1, 65_536)] = "auto"
    """Samples per process and forward pass; times `accum_iter` they are the batch. auto: what
    fits into memory, at most 16 on a CPU and 64 on a GPU."""
    accum_iter: Annotated[Count, at_most(65_536)] = 1
    """Forward passes whose gradients are added up before each update."""
    num_worker_per_gpu: Annotated[Size | Literal["auto"], or_word("auto", 0, 1024)] = "auto"
    """Processes that read images; 0: none but this; auto: half of the cores, with a GPU all but one, up to 8; more
    where a chain of degradations is dear, which the first samples tell."""
    use_hflip: bool = True
    """Mirror half of the patches."""
    use_rot: bool = True
    """Turn patches by multiples of 90 degrees, together with `use_hflip`."""
    pin_memory: bool = True
    """Keep batches in page-locked memory, for faster copies to the GPU."""
    prefetch_factor: Annotated[Count, at_most(1024)] = 2
    """Batches that each reading process keeps ready."""
    cache: Literal["auto", "ram", "disk", "off"] = "auto"
    """Keep decoded images: `ram` in memory, `disk` in files of raw pixels; auto: in memory if they take less than
    half of it, else on the disk if they take less than half of what is free there, else nowhere."""
    cache_dir: FilePath | None = None
    """Folder of the files of `cache: disk`; by default beside each folder of images, as `<folder>.pixels`."""
    skip_bad_images: bool = False
    """Go on without images that cannot be read or do not fit; otherwise the run refuses to start."""
