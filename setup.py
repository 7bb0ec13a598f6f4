"""What pyproject.toml cannot say: recipes and schema, which users find at the top, travel in the wheel too."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithRecipes(build_py):
    """Copies `options/` and `schemas/` into the package `traiNNer` of the wheel, under `shipped/`."""

    def run(self) -> None:
        """Build afresh, then copy; an editable installation reads them where they are."""
        if self.editable_mode:
            return super().run()
        # what an earlier build left: setuptools adds to it, and a module that has moved would be there twice
        shutil.rmtree(Path(self.build_lib, "traiNNer"), ignore_errors=True)
        super().run()
        for folder in ("options", "schemas"):
            shutil.copytree(folder, Path(self.build_lib, "traiNNer", "shipped", folder))


setup(cmdclass={"build_py": BuildWithRecipes})
