"""Shell completion, asked as a shell asks: what a real bash offers for the words so far."""

import shlex
import shutil
import subprocess

import pytest
from powershell_grammar import faults

from traiNNer.cli import completion, trainner

BASH, FISH = shutil.which("bash"), shutil.which("fish")
_ASK = """
source {script}
function=$(complete -p trainner | sed 's/.*-F \\([^ ]*\\).*/\\1/')
COMP_WORDS=({words}) COMP_CWORD={last} COMP_LINE={line} COMP_POINT=${{#COMP_LINE}}
"$function" trainner {word} {before}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """By shell; all come of one command line, which is built once."""
    command_line, folder = completion.whole(), tmp_path_factory.mktemp("scripts")
    for shell in completion.SHELLS:
        (folder / shell).write_text(completion.script(command_line, shell))
    return folder


@pytest.fixture
def offered(scripts, tmp_path):
    (tmp_path / "my.yml").touch()
    (tmp_path / "photos").mkdir()

    def ask(*words):
        text = _ASK.format(
            script=shlex.quote(str(scripts / "bash")),
            words=shlex.join(words),
            last=len(words) - 1,
            line=shlex.quote(shlex.join(words)),
            word=shlex.quote(words[-1]),
            before=shlex.quote(words[-2]),
        )
        ran = subprocess.run([BASH, "--norc", "-c", text], capture_output=True, text=True, cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.split()

    return ask


@pytest.mark.skipif(BASH is None, reason="there is no bash")
def test_bash_offers_verbs_options_values_and_files(offered):
    assert offered("trainner", "") == list(trainner.VERBS)
    assert offered("trainner", "tr") == ["train"]
    assert offered("trainner", "train", "--au") == ["--auto_resume"]
    assert offered("trainner", "train", "-opt", "m") == ["my.yml"]
    assert "train.total_iter=" in offered("trainner", "train", "-opt", "my.yml", "train.to")
    assert offered("trainner", "new", "my.yml", "--recipe", "realt") == ["realtime", "realtime_real"]
    assert offered("trainner", "new", "my.yml", "--gt", "") == ["photos"]


@pytest.mark.skipif(FISH is None, reason="there is no fish")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("tr", {"train"}),
        ("train --au", {"--auto_resume"}),
        ("train -opt m", {"my.yml"}),
        ("train -opt my.yml train.to", {"train.total_iter="}),
        ("new my.yml --gt ", {"photos/"}),
    ],
)
def test_fish_offers_the_same(scripts, tmp_path, words, expected):
    (tmp_path / "my.yml").touch()
    (tmp_path / "photos").mkdir()
    text = f"source {shlex.quote(str(scripts / 'fish'))}; complete -C {shlex.quote('trainner ' + words)}"
    ran = subprocess.run([FISH, "--no-config", "-c", text], capture_output=True, text=True, cwd=tmp_path)
    assert {line.partition("\t")[0] for line in ran.stdout.splitlines()} == expected


def test_other_shells_get_every_verb_and_its_options(scripts):
    for shell in completion.SHELLS[1:]:
        text = (scripts / shell).read_text()
        assert all(verb in text for verb in trainner.VERBS), shell
        assert "auto_resume" in text, shell
    assert " -o opt " in (scripts / "fish").read_text()  # -s takes one letter
    assert faults((scripts / "powershell").read_text()) == []
