"""The floor: what isod needs is checked at its start and refused in one sentence, before anything else can fail."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from isod.host import floor

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "found",
    [
        {"systemd": "254"},
        {"systemd": "257.9-1~deb13u1"},
        {"systemd": "v258-rc2"},
        {"systemd": "arch-256.4"},
        {"Linux": "6.5.0-1-amd64"},
        {"Linux": "6.12.48+deb13-amd64"},
        {"Linux": "10.0"},
        {"Python": "3.11.0rc1", "pydantic": "2.0b3"},
        {"Python": "4.0.0"},
        floor.python_versions(),
    ],
)
def test_the_floor_and_all_above_it_pass(found: dict[str, str]) -> None:
    floor.check(found)


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("systemd", "252.39-1~deb12u1"),
        ("systemd", "253"),
        ("systemd", ""),
        ("systemd", "unknown"),
        ("Linux", "6.4.16"),
        ("Linux", "6.1.0-31-amd64"),
        ("Linux", "5.15"),
        ("Python", "3.9.2"),
        ("Python", "3.10.12"),
        ("pydantic", "1.10.4"),
        ("pydantic", ""),
    ],
)
def test_what_is_below_is_named_with_what_is_needed(name: str, version: str) -> None:
    needed = ".".join(map(str, floor.FLOOR[name]))
    with pytest.raises(floor.BelowFloor, match=re.escape(f"{name} {needed} is needed ({version or 'none found'})")):
        floor.check({name: version})


def test_there_is_one_refusal_of_one_line_for_all() -> None:
    with pytest.raises(floor.BelowFloor) as refusal:
        floor.check({"Python": "3.9", "pydantic": "", "Linux": "6.1", "systemd": "25\n<0>" + "x" * 500})
    text = str(refusal.value)
    assert all(name in text for name in floor.FLOOR)
    assert text.isprintable()
    assert len(text) < 300


def test_a_module_that_is_missing_is_no_traceback(tmp_path: Path) -> None:
    """N2 and its like: each of isod's own imports, not pydantic alone."""
    for name in floor.MODULES:
        before = f"import importlib.util as u; f = u.find_spec; u.find_spec = lambda n: None if n == {name!r} else f(n)"
        done = run_isod(tmp_path, before=before)
        assert (done.returncode, done.stderr.count("\n")) == (floor.EXIT_CODE, 1)
        assert f"the Python module {name} is needed (none found); install it" in done.stderr


def test_all_that_is_missing_is_told_at_once() -> None:
    found = {"Python": "3.10", "pydantic": "1.10.4", "Linux": "6.1.0", "systemd": "252.39"}
    with pytest.raises(floor.BelowFloor) as refusal:
        floor.check(found, ["structlog"])
    assert all(word in str(refusal.value) for word in (*found, *found.values(), "structlog", "newer release"))


def run_isod(tmp_path: Path, *arguments: str, before: str) -> subprocess.CompletedProcess[str]:
    """Run isod's entry point as its launcher does, in a Python to which something was done."""
    script = f"import sys; {before}; from isod.__main__ import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={"PYTHONPATH": f"{tmp_path}:{REPOSITORY}/daemon", "PATH": os.environ["PATH"]},
        text=True,
        capture_output=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize(("source", "shown"), [("VERSION = '1.10.4'", "1.10.4"), (None, "none found")])
@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_an_old_or_missing_pydantic_is_no_traceback(
    tmp_path: Path, source: str | None, shown: str, arguments: list[str]
) -> None:
    """Debian 12 has pydantic 1, which can't even be imported from as isod does."""
    before = "sys.modules['pydantic'] = None"
    if source is not None:
        (tmp_path / "pydantic").mkdir()
        (tmp_path / "pydantic/__init__.py").touch()
        (tmp_path / "pydantic/version.py").write_text(source)
        before = "pass"
    done = run_isod(tmp_path, *arguments, before=before)
    assert done.returncode == floor.EXIT_CODE
    assert done.stderr == (
        f"isod can't run here: pydantic 2 is needed ({shown}); install it, or put it into a virtual environment and "
        "isod on that: README, Supported hosts\n"
    )


def test_an_old_python_or_kernel_is_told_before_the_daemon_begins(tmp_path: Path) -> None:
    python = run_isod(tmp_path, before="import platform; platform.python_version = lambda: '3.10.12'")
    assert (python.returncode, python.stderr.count("\n")) == (floor.EXIT_CODE, 1)
    assert "Python 3.11 is needed (3.10.12)" in python.stderr
    uname = "import os, types; os.uname = lambda: types.SimpleNamespace(release='6.1.0-31-amd64')"
    kernel = run_isod(tmp_path, before=uname)
    assert (kernel.returncode, kernel.stderr.count("\n")) == (floor.EXIT_CODE, 1)
    assert "Linux 6.5 is needed (6.1.0-31-amd64)" in kernel.stderr


def test_policy_files_can_be_checked_under_any_kernel(tmp_path: Path) -> None:
    """They are also checked where they are built, which is another machine."""
    done = run_isod(
        tmp_path, "--check", os.fspath(tmp_path),
        before="import os, types; os.uname = lambda: types.SimpleNamespace(release='5.4')",
    )  # fmt: skip
    assert "is needed" not in done.stderr
    assert done.returncode != floor.EXIT_CODE


def test_what_others_say_of_the_floor_is_true() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    version = {name: ".".join(map(str, numbers)) for name, numbers in floor.FLOOR.items()}
    assert project["requires-python"] == f">={version['Python']}"
    assert f"pydantic>={version['pydantic']}" in project["dependencies"]
    sentence = (
        f"Needs systemd {version['systemd']}, Linux {version['Linux']}, "
        f"Python {version['Python']} with pydantic {version['pydantic']}."
    )
    assert sentence in (REPOSITORY / "README.md").read_text()
    unit = (REPOSITORY / "systemd-units/isod.service").read_text()
    assert f"RestartPreventExitStatus={floor.EXIT_CODE}\n" in unit


def test_the_entry_point_can_be_read_by_old_pythons() -> None:
    """It must get as far as its own refusal: no syntax of 3.10 and later outside of annotations."""
    import ast

    for path in (
        *("isod/__main__.py", "isod/host/floor.py", "isod/__init__.py", "isod/host/__init__.py"),
        *("isod_contract/__init__.py", "isod_contract/versions.py"),
    ):
        tree = ast.parse((REPOSITORY / "daemon" / path).read_text(), feature_version=(3, 8))
        if path.endswith(("main__.py", "floor.py", "versions.py")):
            imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
            assert imports[0].module == "__future__"


def test_a_bus_that_is_away_is_one_line_and_systemd_starts_it_again(tmp_path: Path) -> None:
    """A traceback for each restart of the bus was what isod's log had of it."""
    environment = {"PYTHONPATH": str(REPOSITORY / "daemon"), "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path}/bus"}
    done = subprocess.run([sys.executable, "-m", "isod"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 75
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"isod can't use the system bus: {tmp_path}/bus: ")
    assert line.endswith("; see `systemctl status dbus.service`")
