"""The notebook for the cloud: whole, without outputs, and running from photographs to a picture, twice."""

import importlib.util
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = json.loads((ROOT / "notebooks/train_in_the_cloud.ipynb").read_text(encoding="utf-8"))
PARAMETERS = 1  # the cell that readers change
FOLDER = 3  # the one that installs and finds the photographs
TINY = "datasets.train.lq_size=16 datasets.train.num_worker_per_gpu=0 val.val_freq=2 train.warmup_iter=0 num_gpu=0"


def test_it_holds_no_outputs_and_its_parameters_are_what_the_other_cells_use():
    cells = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    names = [line.split(" = ")[0] for line in NOTEBOOK["cells"][PARAMETERS]["source"] if " = " in line]
    rest = "".join("".join(cell["source"]) for cell in cells[1:])
    assert [name for name in names if name not in rest] == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "SOURCE above should say where"),
        ("trainner", "trainner is missing"),
        ("my.whl", "my.whl is missing"),
        ("git+https://x/y", "no photographs"),
    ],
)
def test_it_says_what_it_lacks(tmp_path, monkeypatch, source, said):
    monkeypatch.chdir(tmp_path)
    find = importlib.util.find_spec
    hidden = ("google", "traiNNer") if not source else ("google",)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in hidden else find(name))
    program = "".join(NOTEBOOK["cells"][FOLDER]["source"]).replace("%cd {HOME}", "os.chdir(HOME)")
    program = re.sub(r"%pip.*", "pass", program)
    with pytest.raises(AssertionError, match=said):
        exec(program, {"os": os, "SOURCE": source, "PHOTOS": "photos"})


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of zmq and of the kernel
def test_it_runs_and_runs_on(photograph_files, tmp_path, monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/trainner"  # this program, installed or not
    program.write_text(
        f"#!{sys.executable}\nimport sys\nfrom traiNNer.cli.trainner import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    home = tmp_path / "trainner"
    (home / "photos").mkdir(parents=True)
    for file in photograph_files[:5]:
        shutil.copy(file, home / "photos")

    def run(steps):
        notebook = nbformat.reads(json.dumps(NOTEBOOK), as_version=4)
        told = {"SOURCE": "", "STEPS": steps, "RECIPE": "nano", "OVERRIDES": TINY}
        notebook.cells[PARAMETERS].source += "".join(f"\n{name} = {value!r}" for name, value in told.items())
        client = nbclient.NotebookClient(notebook, timeout=400, resources={"metadata": {"path": tmp_path}})
        client.execute()
        summary = json.loads((home / "experiments/cloud/summary.json").read_text())
        assert (summary["status"], summary["iterations"]) == ("completed", steps)
        return (home / "experiments/cloud/train_cloud.log").read_text()

    assert "Going on from" not in run(2)
    assert "Going on from" in run(4)
    assert (home / "comparison.png").is_file()
    assert list(home.glob("release/*/*.onnx"))
