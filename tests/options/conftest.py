"""Writing small configurations."""

import pytest

from traiNNer.options import load_options


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a text into the current, empty directory, as `bad.yml` by default; gives the name."""
    monkeypatch.chdir(tmp_path)

    def write_text(text, name="bad.yml"):
        (tmp_path / name).write_text(text)
        return name

    return write_text


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Loads `c.yml`: the smallest configuration, more lines of `train` (without indent), and a text."""
    monkeypatch.chdir(tmp_path)

    def load_text(text="", *, train="", overrides=()):
        body = "".join(f"  {line}\n" for line in train.splitlines())
        (tmp_path / "c.yml").write_text(f"name: n\nscale: 2\ntrain:\n  total_iter: 10\n{body}{text}")
        return load_options("c.yml", overrides)

    return load_text
