"""The pages of reference: current, whole, and with links that lead somewhere."""

import ast
import re
from pathlib import Path

import docstrings
import pytest
from reference import reference

from traiNNer.archs import NETWORKS
from traiNNer.build.check import check_parts
from traiNNer.losses import LOSSES
from traiNNer.metrics import METRICS
from traiNNer.optim.schedules import SCHEDULES, ReduceLROnPlateau
from traiNNer.options import load_options
from traiNNer.options.fields import DatasetOptions, LogOptions, Options, PathOptions, TrainOptions, ValOptions

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = (DOCS / "configuration.md").read_text()


def section(title):
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_page_is_what_the_code_says():
    assert reference() == PAGE, "run python scripts/docs/make_reference.py"


@pytest.mark.parametrize(
    ("title", "options"),
    [
        ("Top level", Options),
        ("datasets", DatasetOptions),
        ("path", PathOptions),
        ("train", TrainOptions),
        ("val", ValOptions),
        ("logger", LogOptions),
    ],
)
def test_every_option_has_a_row_with_values_and_meaning(title, options):
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| .* \| (.+?) \|$", section(title), re.MULTILINE)
    assert [name for name, _, _ in rows] == list(options.model_fields)


@pytest.mark.parametrize(
    ("title", "registry"),
    [("Schedules", SCHEDULES), ("Losses", LOSSES), ("Metrics", METRICS), ("Networks", NETWORKS)],
)
def test_every_part_is_there_once(title, registry):
    named = re.findall(r"^(?:### |\| `)(\w+)(?:$|` \| (?:`\w+: [^|]*)? \|$)", section(title), re.MULTILINE)
    assert sorted(named) == registry.names()


def test_every_parameter_has_a_meaning():
    assert re.findall(r"^\| `\w+` \| .* \|  \|$", PAGE, re.MULTILINE) == []


def test_every_metric_has_its_source():
    rows = re.findall(r"^\| `(\w+)` \|", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    assert rows == METRICS.names()


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_links_to_headings_lead_to_them(page):
    for link in re.findall(r"\]\(([^)\s]*#[^)\s]+)", page.read_text()):
        file, _, anchor = link.partition("#")
        if "://" in link:
            continue
        text = (page.parent / file).read_text() if file else page.read_text()
        titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        anchors = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
        assert anchor in anchors, link


def test_arguments_are_read_from_class_constructor_and_fields():
    assert docstrings.arguments(ReduceLROnPlateau)["min_lr"] == "Lowest rate."
    kernel = docstrings.arguments(LOSSES.find("ContextualLoss"))["max_1d_size"]
    assert kernel.startswith("Larger maps are thinned")
    assert kernel.endswith("a sample and layer.")
    assert docstrings.arguments(METRICS.find("psnr"))["test_y_channel"].startswith("Compare luma")
    assert "Args" not in docstrings.body(LOSSES.find("ContextualLoss"))


def said():
    """Every text of the program, with a mark where a value stands."""
    for path in (DOCS.parent / "traiNNer").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "\0".join(part.value for part in node.values if isinstance(part, ast.Constant))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_troubleshooting_quotes_what_the_program_says():
    page = (DOCS / "troubleshooting.md").read_text()
    quoted = "\n".join(re.findall(r"```text\n(.*?)```", page, re.DOTALL)).splitlines()
    assert len(quoted) > 50
    texts = "\n".join(said())
    pieces = {piece.strip() for line in quoted for piece in line.split("...")}
    assert [piece for piece in pieces if len(piece) > 3 and piece not in texts] == []


OTHERS = {
    "BasicSR": """
name: a
model_type: SRModel
scale: 4
num_gpu: 1
manual_seed: 0
datasets:
  train:
    {name: b, type: PairedImageDataset, dataroot_gt: a, dataroot_lq: b, filename_tmpl: '{}',
     io_backend: {type: disk}, gt_size: 128, use_hflip: true, use_rot: true, use_shuffle: true,
     num_worker_per_gpu: 6, batch_size_per_gpu: 16, dataset_enlarge_ratio: 1000, prefetch_mode: ~}
  val: {name: Set5, type: PairedImageDataset, dataroot_gt: a, dataroot_lq: b, io_backend: {type: disk}}
network_g: {type: RRDBNet, num_in_ch: 3, num_out_ch: 3, num_feat: 64, num_block: 23, num_grow_ch: 32}
path: {pretrain_model_g: ~, strict_load: true, resume_state: ~}
train:
  optim_g: {type: Adam, lr: !!float 2e-4, weight_decay: 0, betas: [0.9, 0.99]}
  scheduler:
    {type: CosineAnnealingRestartLR, periods: [500, 500], restart_weights: [1, 1], eta_min: !!float 1e-7}
  total_iter: 1000
  warmup_iter: -1
  pixel_opt: {type: L1Loss, loss_weight: 1.0, reduction: mean}
val:
  val_freq: !!float 5e3
  save_img: false
  metrics: {psnr: {type: calculate_psnr, crop_border: 4, test_y_channel: false}}
logger:
  {print_freq: 100, save_checkpoint_freq: !!float 5e3, use_tb_logger: true, wandb: {project: ~, resume_id: ~}}
dist_params: {backend: nccl, port: 29500}
""",
    "neosr": """
name: a
model_type: default
scale: 4
use_amp: true
bfloat16: false
compile: false
datasets:
  train: {type: paired, dataroot_gt: a, dataroot_lq: b, gt_size: 128, batch_size_per_gpu: 6}
network_g: {type: compact}
train:
  optim_g: {type: adamw, lr: !!float 1e-4, betas: [0.9, 0.99], fused: True}
  scheduler: {type: multisteplr, milestones: [60000, 120000], gamma: 0.5}
  total_iter: 500000
  pixel_opt: {type: L1Loss, loss_weight: 1.0, reduction: mean}
  color_opt: {type: colorloss, loss_weight: 1.0, criterion: l1}
""",
}


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_what_migration_promises_of_other_files_is_so(text, tmp_path):
    file = tmp_path / "theirs.yml"
    file.write_text(text)
    assert load_options(file, check=check_parts).train.total_iter >= 1000


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_the_readme_leads_to_every_page(page):
    assert f"](docs/{page.name})" in (DOCS.parent / "README.md").read_text()
