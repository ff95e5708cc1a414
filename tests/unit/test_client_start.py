"""What isoctl loads before its first byte to the bus, and what is generated for it."""

import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from isoctl.render import clean

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = {
    "argparse", "asyncio", "collections", "dataclasses", "dbus_next", "enum", "functools", "jeepney",
    "importlib.metadata", "json", "logging", "pydantic", "re", "selectors", "signal", "socket", "structlog",
    "subprocess", "threading", "typing", "unicodedata", "isod_contract",
}  # fmt: skip


def run_python(script: str, *more: str, **options: object) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(str(REPOSITORY / directory) for directory in ("client", *more))
    environment = {"PYTHONPATH": path, "PATH": os.environ["PATH"]}
    return subprocess.run(
        [sys.executable, "-S", "-c", script], env=environment, text=True, capture_output=True, check=False, **options
    )  # type: ignore[call-overload, no-any-return]


def test_run_imports_nothing_heavy() -> None:
    """Start-up time is the product: each of these costs a good part of it."""
    script = "import sys, isoctl.__main__, isoctl.commands.run, isoctl.terminal; print(*sys.modules)"
    loaded = set(run_python(script).stdout.split())
    assert "isoctl.commands.run" in loaded
    assert not loaded & HEAVY


def test_isoctl_needs_the_standard_library_and_the_contract_only() -> None:
    verbs = [path.stem for path in (REPOSITORY / "client/isoctl/commands").glob("*.py")]
    script = "import " + ", ".join(f"isoctl.commands.{verb}" for verb in verbs if verb != "__init__")
    done = run_python(script, "daemon")
    assert (done.returncode, done.stderr) == (0, "")


def test_generated_files_are_as_they_would_be_made() -> None:
    done = subprocess.run(
        [sys.executable, REPOSITORY / "tools/generate_client.py", "--check"],
        text=True,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("shell", "file"), [("bash", "isoctl.bash"), ("zsh", "_isoctl"), ("fish", "isoctl.fish")])
def test_completion_is_what_the_shell_can_read(shell: str, file: str) -> None:
    path = REPOSITORY / "client/completion" / file
    text = path.read_text()
    assert "__complete containers" in text
    assert "__complete apps" in text
    if shutil.which(shell):
        subprocess.run([shell, "-n", path], check=True)


def test_bash_completes_verbs_flags_and_names(tmp_path: Path) -> None:
    (tmp_path / "isoctl").write_text("#!/bin/sh\n[ $2 = containers ] && echo blog && echo build || echo 1234abcd\n")
    (tmp_path / "isoctl").chmod(0o755)

    def complete(*words: str) -> list[str]:
        script = f'. {REPOSITORY}/client/completion/isoctl.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _isoctl; '
        script += 'printf "%s\\n" "${COMPREPLY[@]}"'
        done = subprocess.run(
            ["bash", "-c", script, "bash", *words],
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, text=True, capture_output=True, check=True,
        )  # fmt: skip
        return done.stdout.split()

    assert complete("isoctl", "st") == ["status", "start", "stop"]
    assert complete("isoctl", "run", "bl") == ["blog"]
    assert complete("isoctl", "kill", "12") == ["1234abcd"]
    assert "--no-login-shell" in complete("isoctl", "run", "--no")


@pytest.mark.attack("C13")
@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0), 0xAD, 0x200B, *range(0x202A, 0x202F),
                                  *range(0x2066, 0x206A), 0x2028, 0xFEFF, 0xE0041, 0xD800])  # fmt: skip
def test_what_a_terminal_would_act_on_is_written_by_number(code: int) -> None:
    shown = clean(f"a{chr(code)}b")
    assert shown.isascii()
    assert f"{code:x}" in shown


def test_ordinary_text_is_left_alone() -> None:
    for text in ("plain", "grün", "日本語", "🙂", "a\\b"):
        assert clean(text) == unicodedata.normalize("NFC", text)


def test_streams_that_may_not_enter_are_refused_with_a_sentence(tmp_path: Path) -> None:
    """Python itself ends at a directory, but not at every other stream that is none."""
    script = """
import os, sys
from isoctl.stdio import Refused, Streams
fd = os.open({path!r}, {flags})
os.dup2(fd, {number})
try:
    Streams()
except Refused as refusal:
    print(refusal, file=sys.stderr if {number} == 1 else sys.stdout)
"""
    (tmp_path / "file").write_text("x")
    for path, flags, number, words in (
        (tmp_path, os.O_RDONLY, 0, "is a directory"),
        (tmp_path / "file", os.O_PATH, 0, "only a path"),
        (tmp_path / "file", os.O_WRONLY, 0, "not open for reading"),
        (tmp_path / "file", os.O_RDONLY, 1, "not open for writing"),
    ):
        done = run_python(script.format(path=str(path), flags=flags, number=number))
        assert words in done.stdout + done.stderr
