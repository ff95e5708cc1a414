"""What the README says that can be held against the sources without a host."""

import ast
import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text()
# pydantic brings its core along
NOT_ASKED_FOR = {
    "pydantic_core",
    "isod",
    "isod_contract",
    "isod_kernel",
    "isod_wire",
    "isod_session",
    "isod_helper",
    "isoctl",
}


def imported() -> set[str]:
    """The top-level packages that the programs import, anywhere in their code."""
    names: set[str] = set()
    for path in (*(REPOSITORY / "daemon").rglob("*.py"), *(REPOSITORY / "client").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return names


def test_the_packages_to_install_are_what_the_programs_import() -> None:
    (line,) = re.findall(r"^apt install (.*)$", README, re.MULTILINE)
    wanted = {word.removeprefix("python3-").replace("-", "_") for word in line.split() if word.startswith("python3-")}
    needed = {name for name in imported() - NOT_ASKED_FOR if name not in sys.stdlib_module_names}
    # pyudev is for devices, which are to come; it is installed so that they need no second installation
    assert needed <= wanted
    assert wanted - needed <= {"pyudev"}


def test_every_file_that_it_names_is_there() -> None:
    for path in re.findall(r"\]\(([^)#]+)\)", README):
        assert (REPOSITORY / path).exists() or path.startswith("http"), path
