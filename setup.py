"""What pyproject.toml cannot say: recipes and schema, which users find at the top, travel in the wheel too."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithRecipes(build_py):
    """Copies `options/` and `schemas/` into the package `traiNNer` of the wheel, under `shipped/`."""

    def run(self) -> None:
        """Build as usual, then copy; an editable installation reads them where they are."""
        super().run()
        if not self.editable_mode:
            for folder in ("options", "schemas"):
                target = Path(self.build_lib, "traiNNer", "shipped", folder)
                shutil.rmtree(target, ignore_errors=True)  # what an earlier build left
                shutil.copytree(folder, target)


setup(cmdclass={"build_py": BuildWithRecipes})
