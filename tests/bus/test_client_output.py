"""Standard output and error of isoctl that can't be written: a full disk, a reader that left, a closed descriptor."""

import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from buses import Bus
from client import Isoctl
from fakeisod import FakeIsod, fake_isod
from isoctl.verbs import VERBS

ID = "1234" + "a" * 28
APP = {
    "Id": ("s", ID),
    "Container": ("s", "blog"),
    "State": ("s", "running"),
    "User": ("s", "alice"),
    "Command": ("as", ["sleep", "60"]),
    "StartedUSec": ("t", 1_700_000_000_000_000),
    "Running": ("b", True),
    "ExitCode": ("i", -1),
    "Problem": ("(ss)", ("", "")),
}
CONTAINER = {
    "Name": ("s", "blog"),
    "State": ("s", "running"),
    "User": ("s", "alice"),
    "Unit": ("s", "container@blog.service"),
    "Apps": ("ao", []),
    "AppCount": ("u", 1),
    "Grants": ("a{sv}", {}),
    "Problem": ("(ss)", ("", "")),
}
RECORD = {"time_usec": ("t", 1_700_000_000_000_000), "kind": ("s", "decision")}
PRINTING = {
    "list": ["list"],
    "status": ["status"],
    "status of one": ["status", "blog"],
    "ps": ["ps"],
    "ps --json": ["ps", "--json"],
    "top": ["top"],
    "logs": ["logs", "blog"],
    "history": ["history"],
    "why": ["why", "blog"],
    "doctor": ["doctor"],
    "exposure": ["exposure", "blog"],
    "reload": ["reload"],
    "run -d": ["run", "-d", "blog", "true"],
    "version": ["--version"],
    "help": ["--help"],
    **{f"{verb.name} --help": [verb.name, "--help"] for verb in VERBS},
}
ALL = pytest.mark.parametrize("words", PRINTING.values(), ids=PRINTING)


def log() -> tuple[str, tuple[Any, ...]]:
    reader, writer = os.pipe()
    os.write(writer, b"a line\n")
    os.close(writer)
    return "h", (reader,)


@pytest.fixture
def isod(bus: Bus) -> Iterator[FakeIsod]:
    with fake_isod(bus.address) as running:
        running.answers = {
            "Ping": ("", ()),
            "Get": ("v", (("s", "0.1.0"),)),
            "GetAll": ("a{sv}", (CONTAINER | APP,)),
            "ListContainers": ("a(oa{sv})", ([("/org/isoctl1/container/blog", CONTAINER)],)),
            "ListAppsAfter": ("a(oa{sv})b", ([(f"/org/isoctl1/app/{ID}", APP)], False)),
            "GetContainer": ("o", ("/org/isoctl1/container/blog",)),
            "GetUsage": ("aa{sv}", ([],)),
            "OpenLog": lambda *_: log(),
            "History": ("aa{sv}", ([RECORD],)),
            "Explain": ("a{sv}", ({"outcome": ("s", "allowed"), "rule": ("s", "users")},)),
            "Check": ("aa{sv}", ([],)),
            "Reload": ("aa{sv}", ([{"change": ("s", "nothing")}],)),
        }
        yield running


@pytest.fixture
def isoctl(bus: Bus, isod: FakeIsod) -> Isoctl:
    return Isoctl(bus.address)


def code_for(words: list[str]) -> int:
    """Give the exit code of isoctl(1) for a failure of isoctl's own."""
    return 125 if words[0] in ("run", "shell") else 1


@ALL
def test_a_full_disk_is_one_line_and_a_code(isoctl: Isoctl, words: list[str]) -> None:
    """N21: `isoctl logs blog > /dev/full` was a traceback, others "Exception ignored" and 120."""
    with open("/dev/full", "wb") as full:
        done = isoctl.run(*words, stdout=full, stderr=subprocess.PIPE)
    sentence = b"isoctl: standard output can't be written: No space left on device\n"
    assert (done.stderr.splitlines(keepends=True)[-1:], done.returncode) == ([sentence], code_for(words))
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


@ALL
def test_a_closed_output_is_one_line_and_a_code(isoctl: Isoctl, words: list[str]) -> None:
    """N21: `isoctl list >&-` said nothing and exited with 0."""
    done = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", *isoctl.command(*words)],
        env=isoctl.environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=10, check=False,
    )  # fmt: skip
    sentence = b"isoctl: standard output can't be written: Bad file descriptor\n"
    assert (done.stderr.splitlines(keepends=True)[-1:], done.returncode) == ([sentence], code_for(words))


@ALL
def test_a_reader_that_left_ends_it_as_it_ends_others(isoctl: Isoctl, words: list[str]) -> None:
    """N21: `isoctl --help | true` was a BrokenPipeError and 120; with `run` each failed write is told."""
    reader, writer = os.pipe()
    os.close(reader)
    done = isoctl.run(*words, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert b"Traceback" not in done.stderr
    if code_for(words) == 1:
        assert done.returncode == -signal.SIGPIPE
    else:
        assert done.returncode == 125
        assert done.stderr == b"isoctl: standard output can't be written: Broken pipe\n"


@pytest.mark.parametrize("where", ["/dev/full", "&-"])
def test_errors_that_nobody_can_read_do_not_change_the_code(isoctl: Isoctl, where: str) -> None:
    """N21: and none of them goes to standard output in place of it."""
    done = isoctl.shell(f"isoctl list too many 2>{where}; echo $?")
    assert (done.stdout, done.stderr) == (b"2\n", b"")


def test_the_version_is_in_the_help_and_the_manual(isoctl: Isoctl) -> None:
    """N29."""
    assert b"--version" in isoctl.run("--help").stdout
    assert isoctl.run("--version").stdout.startswith(b"isoctl ")
    assert isoctl.run("-V").stdout == isoctl.run("--version").stdout
