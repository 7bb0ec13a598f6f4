"""The installed command: its verbs, the configuration it writes, and the wheel it comes in."""

import os
import re
import runpy
import subprocess
import sys
import sysconfig
import venv
from importlib import import_module
from pathlib import Path

import pytest
import setuptools

from traiNNer.build.check import check_parts
from traiNNer.build.lint import unwise
from traiNNer.cli import new, trainner
from traiNNer.options import load_options
from traiNNer.options.recipes import PURPOSES, SCHEMA, recipes
from traiNNer.wording import shell_line

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "others", "small"):
        (tmp_path / name).mkdir()


def test_every_verb_has_a_command_whose_help_fits_a_screen(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)
    for name, verb in trainner.VERBS.items():
        assert callable(import_module(f"traiNNer.cli.{verb.module}").main)
        with pytest.raises(SystemExit) as end:
            trainner.main([name, "--help"])
        printed = capsys.readouterr().out
        assert end.value.code == 0
        assert printed.startswith(f"usage: trainner {name} ")
        assert len(printed.splitlines()) <= 50, name
        assert "scripts/" not in printed, name  # a wheel has none


@pytest.mark.parametrize("verb", trainner.VERBS)
def test_every_argument_is_explained_with_its_default(verb):
    parser = import_module(f"traiNNer.cli.{trainner.VERBS[verb].module}").command_line()
    unexplained = [action.dest for action in parser._actions if not action.help]
    numbers = [a for a in parser._actions if type(a.default) in (int, float) and a.default]
    unsaid = [a.dest for a in numbers if f"{a.default:g}" not in a.help and a.dest != "processes"]
    assert (unexplained, unsaid) == ([], [])


def test_the_package_runs_as_the_command():
    run = subprocess.run([sys.executable, "-m", "traiNNer", "--version"], capture_output=True, text=True)
    assert run.returncode == 0 and run.stdout.startswith("trainner ")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("tarin", "; did you mean 'train'?"),
        ("nwe", "; did you mean 'new'?"),
        ("rl", "; did you mean 'lr'?"),
        ("net", "; `trainner --help` lists what there is"),
    ],
)
def test_a_mistyped_verb_is_named_with_the_one_that_was_meant(capsys, typed, told):
    with pytest.raises(SystemExit) as end:
        trainner.main([typed])
    assert end.value.code == 2
    assert f"there is no verb {typed!r}{told}" in capsys.readouterr().err
    assert trainner.main([]) == 2
    assert "one of those below" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["train", "test"])
def test_a_file_without_opt_is_recognised(verb, photos, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)
    Path("m y.yml").touch()
    with pytest.raises(SystemExit) as end:
        trainner.main([verb, "scale=2", "m y.yml"])
    assert end.value.code == 2
    assert f"-opt is missing: {shell_line('-opt', 'm y.yml')}" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["check", "preview"])
def test_a_file_with_opt_is_the_file(verb, photos, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)
    said = []
    for words in (["my.yml"], ["-opt", "my.yml", "scale=2"], ["scale=2", "-opt", "my.yml"]):
        assert trainner.main([verb, *words]) == 2
        said.append(capsys.readouterr())
    assert "my.yml" in "".join(said[0])
    assert said[0] == said[1] == said[2]


def test_help_and_new_do_not_wait_for_torch(photos):
    program = (
        "import sys; from traiNNer.cli.trainner import main\n"
        "assert main(['new', 'my.yml', '--gt', 'photos']) == 0\n"
        "try: main(['--help'])\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert run.stdout.endswith("False\n"), run.stderr
    assert all(f"  {name} " in run.stdout for name in trainner.VERBS)


@pytest.mark.parametrize("name", recipes())
def test_a_new_configuration_is_the_recipe_with_other_data(name, photos):
    assert new.main(["my.yml", "--recipe", name, "--gt", "photos", "--val_gt", "others"]) == 0
    mine = load_options("my.yml", [], check=check_parts)
    theirs = load_options(recipes()[name], [], check=check_parts)
    assert mine.name == "my"
    assert mine.datasets["train"].dataroot_gt == ["photos"]
    for key, data in mine.datasets.items():
        assert data.type in ("SingleGtDataset", "RealESRGANDataset")  # which make their LR images
        assert key == "train" or data.dataroot_gt == ["others"]
        assert data.dataroot_lq == []
    same = {"network_g", "train", "val", "logger", "degradation", "scale"}
    assert mine.model_dump(include=same) == theirs.model_dump(include=same)
    text = Path("my.yml").read_text()
    assert SCHEMA.is_file()
    assert SCHEMA.as_uri() in text
    body = recipes()[name].read_text().split("\nname:")[1]
    comments = [line for line in body.splitlines() if line.strip().startswith("#")]
    assert [line for line in comments if line not in text] == []


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_network_of_choice_comes_with_its_scale_and_the_rates_of_redux(purpose, photos):
    arguments = ["--network", "swinir_s", "--scale", "3", "--recipe", purpose, "--gt", "photos"]
    assert new.main(["my.yml", *arguments]) == 0
    options = load_options("my.yml", [], check=check_parts)
    assert (options.scale, options.network_g) == (3, {"type": "swinir_s"})
    assert list(unwise(options)) == []
    assert options.train.optim_g == {"type": "AdamW", "lr": 2e-4, "betas": [0.9, 0.99], "weight_decay": 0}
    assert (options.network_d is not None) == purpose.endswith("gan") == bool(options.train.optim_d)
    assert (options.degradation is not None) == purpose.startswith("otf")
    assert {data.type for data in options.datasets.values()} <= {"SingleGtDataset", "RealESRGANDataset"}
    text = Path("my.yml").read_text()
    assert (
        re.findall(r"^[ \w].*\n(?=[a-z_]+:\n)", text, re.MULTILINE) == []
    )  # an empty line above every section
    assert new.main(["its_own.yml", *arguments, "--network", "RealPLKSR", "--recipe", "fidelity"]) == 0
    assert "layer_norm: true" in Path("its_own.yml").read_text()  # the recipe's own network stays whole


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--network", "realplkr"], "did you mean 'realplksr'?"),
        (["--network", "munet"], "munet is a discriminator"),
        (["--network", "realcugan", "--scale", "8", "--gt", "photos"], "realcugan: scale 8; it has 2, 3, 4"),
        (["--network", "span", "--recipe", "nano_perceptual"], "take gan"),
        (["--network", "nafnet", "--scale", "1", "--gt", "photos"], "LQ would be GT"),
        (["--scale", "4"], "goes with --gt"),
        (["--recipe", "otf_gan"], "otf_gan goes with --network"),
    ],
)
def test_a_network_that_cannot_be_trained_so_is_refused(arguments, said, photos, capsys):
    assert new.main(["my.yml", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not Path("my.yml").exists()


def test_commands_that_new_prints_and_writes_can_be_copied_from_a_path_with_spaces(photos, capsys):
    assert new.main(["m y.yml", "--gt", "photos"]) == 0
    for text, verb in ((capsys.readouterr().out, "train -opt"), (Path("m y.yml").read_text(), "check")):
        assert f"trainner {verb} {shell_line('m y.yml')}" in text


def test_new_takes_pairs_and_refuses_what_would_be_lost(photos, capsys):
    assert new.main(["my.yml", "--gt", "photos", "--lq", "small"]) == 0
    sets = load_options("my.yml", [], check=check_parts).datasets
    for data, part in ((sets["train"], "training"), (sets["val"], "held_out")):  # never the recipe's own
        assert (data.type, data.dataroot_lq, data.part) == ("PairedImageDataset", ["small"], part)
    assert "  val: auto  # " in Path("my.yml").read_text()
    for arguments in (
        ["my.yml"],
        ["a.yml", "--gt", "nowhere"],
        ["a.yml", "--recipe", "nono"],
        ["a.yml", "--lq", "small"],
        ["a.yml", "--val_gt", "others"],
        ["a.toml", "--gt", "photos"],
        ["aux.yml", "--gt", "photos"],
        ["no/a.yml"],
    ):
        assert new.main(arguments) == 2
    assert "is there already" in capsys.readouterr().err
    assert not any(Path(name).exists() for name in ("a.yml", "a.toml", "aux.yml"))


def test_new_takes_a_folder_below_the_home(photos, monkeypatch):
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(Path.cwd()))
    assert new.main(["my.yml", "--gt=~/photos"]) == 0
    (folder,) = load_options("my.yml").datasets["train"].dataroot_gt
    assert Path(folder).resolve() == Path("photos").resolve()


def test_new_says_which_weights_a_recipe_begins_from(photos, capsys):
    weights = Path("experiments/2x_ParagonSR2_Nano/models/net_g_best.safetensors")
    said = []
    for name in ("a.yml", "b.yml"):
        assert new.main([name, "--recipe", "nano_perceptual", "--gt", "photos"]) == 0
        said.append(capsys.readouterr().out)
        weights.parent.mkdir(parents=True, exist_ok=True)
        weights.touch()
    assert [str(weights) in text for text in said] == [True, False]


def test_messages_name_packages_and_no_extras_of_ours():
    """Whoever has installed a wheel has no checkout for `-e`, and on an index the name may be somebody else's."""
    ours = re.compile(r"pip install (-e|.*\btrainner\b|\.)")
    files = [file for file in (ROOT / "traiNNer").rglob("*.py") if ours.search(file.read_text("utf-8"))]
    assert files == []


def test_a_wheel_holds_nothing_that_an_earlier_build_left(tmp_path, monkeypatch):
    """setuptools removes nothing from `build/lib`: after an update a module that moved would be there twice."""
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    build = runpy.run_path(str(ROOT / "setup.py"))["BuildWithRecipes"]
    monkeypatch.chdir(tmp_path)
    for name in ("traiNNer/new.py", "traiNNer/__init__.py", "options/new.yml", "schemas/new.json"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    for left in ("old.py", "shipped/options/old.yml"):
        Path("lib/traiNNer", left).parent.mkdir(exist_ok=True, parents=True)
        Path("lib/traiNNer", left).touch()
    command = build(setuptools.Distribution({"packages": ["traiNNer"], "script_name": "setup.py"}))
    command.build_lib = "lib"
    command.ensure_finalized()
    command.run()
    made = {file.name for file in Path("lib").rglob("*") if file.is_file()}
    assert made == {"__init__.py", "new.py", "new.yml", "new.json"}


@pytest.mark.slow
def test_a_wheel_works_from_another_folder(tmp_path, photos):
    """In an environment that has the dependencies of this one, and of the program the wheel alone."""
    quiet = ["-q", "--no-deps", "--disable-pip-version-check"]
    build = [sys.executable, "-m", "pip", "wheel", *quiet, "--no-build-isolation", "-w", tmp_path / "wheel"]
    subprocess.run([*build, ROOT], check=True)
    (wheel,) = (tmp_path / "wheel").glob("trainner-*.whl")
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    bin_ = home / ("Scripts" if os.name == "nt" else "bin")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(*words):
        return subprocess.run(
            [str(word) for word in words], env=environment, text=True, capture_output=True, check=True
        ).stdout

    run(bin_ / "python", "-m", "pip", "install", *quiet, wheel)
    site = run(bin_ / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    Path(site, "outer.pth").write_text(sysconfig.get_path("purelib"))
    program = bin_ / "trainner"
    assert str(home) in run(bin_ / "python", "-c", "import traiNNer; print(traiNNer.__file__)")
    run(program, "new", "my.yml", "--recipe", "nano")
    assert "venv" in Path("my.yml").read_text().splitlines()[0]
    assert "no mistake" in run(program, "check", "my.yml")
    small = ["train.total_iter=2", "val.val_freq=2", "train.warmup_iter=0", "logger.use_tb_logger=false"]
    said = run(program, "train", "-opt", "my.yml", *small)
    assert "trainner upscale experiments/my/models/" in said
    run(program, "report", "experiments/my")
    run(program, "upscale", "experiments/my/models/net_g_best.safetensors", "datasets/demo/val/LRx2", "out")
    assert len(list(Path("out").iterdir())) == 6
