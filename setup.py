"""Puts the book and what it is drawn from into the wheel; in a checkout they lie beside the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("book", "data/results", "data/benchmarks", "data/calibration")


class Build(build_py):
    """Builds the package, with `kdstudy/shipped` in it."""

    def run(self) -> None:
        """Copy the sources, then what is published."""
        super().run()
        skip = shutil.ignore_patterns("_build", "_stage", ".*")
        for part in () if self.editable_mode else SHIPPED:
            shutil.copytree(part, Path(self.build_lib, "kdstudy/shipped", part), ignore=skip, dirs_exist_ok=True)


setup(cmdclass={"build_py": Build})
