"""Print the packages that pyproject.toml asks for, those of the tests included; needs nothing but Python."""

import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).resolve().parent.parent / "pyproject.toml").read_text())["project"]

print(*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"], sep="\n")
