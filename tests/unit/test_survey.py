"""What is read for checks: networks by the kernel's own tables, groups of a hostile file, commands of units."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from isod.host.accounts import groups_of
from isod.host.network_tables import unaddressed
from isod.host.processes import command_of
from isod.host.survey import Survey
from isod.ports import Account

ALICE = Account("alice", 1000, 1000, "/home/alice", "/bin/bash")
HEAD = "Inter-| Receive\n face |bytes\n"
ROUTES = "Iface\tDestination\tGateway\n"


@pytest.mark.parametrize(
    ("devices", "routes", "addresses6", "expected"),
    [
        (" lo: 0\n", "", "", ()),
        (" lo: 0\n host0: 0\n", "", "", ("host0",)),
        (" lo: 0\n sit0: 0\n tunl0: 0\n", "", "", ()),
        (" host0: 0\n", "host0\t0001A8C0\t00000000\n", "", ()),
        # networkd that nobody answers gives itself an address of 169.254.0.0/16 and one of fe80::/64
        (" host0: 0\n", "host0\t0000FEA9\t0\n", "fe80000000000000 02 40 20 80    host0\n", ("host0",)),
        (" host0: 0\n", "", "fd00000000000001 02 40 00 80    host0\n", ()),
        # one is enough
        (" host0: 0\n extra: 0\n", "extra\t0001A8C0\t0\n", "", ()),
    ],
)
def test_a_network_without_an_address(devices: str, routes: str, addresses6: str, expected: tuple[str, ...]) -> None:
    assert unaddressed(HEAD + devices, ROUTES + routes, addresses6) == expected


def test_groups_of_a_hostile_file() -> None:
    text = (
        b"sudo:x:27:bob,alice\nusers:x:100:alice\n\xff\xfe:x:1:alice\n:::\nx\n"
        + b"a:b:c:alice\n" * 2
        + b"no:x:1:alicea\n"
    )
    assert groups_of(text, "alice") == ("sudo", "users", "a", "a")


@pytest.fixture
def guest(tmp_path: Path) -> Any:
    root_fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    pidfd = os.pidfd_open(os.getpid())
    yield SimpleNamespace(root_fd=root_fd, pidfd=pidfd, machine="blog")
    os.close(root_fd)
    os.close(pidfd)


def test_what_is_there_is_told_from_inside(tmp_path: Path, guest: Any) -> None:
    """A link that leads out of the container leads nowhere, or to what is inside."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/localtime").symlink_to("/etc/passwd")
    (tmp_path / "up").symlink_to("../../../../../../etc/hostname")
    (tmp_path / "there").mkdir()
    wanted = {"link": ("etc/localtime",), "up": ("up",), "there": ("absent", "there"), "none": ("absent",)}
    assert Survey().look(guest, None, wanted).present == {"there"}


@pytest.mark.parametrize("kind", ["fifo", "link", "directory"])
def test_a_table_of_groups_that_is_none_is_no_fault(tmp_path: Path, guest: Any, kind: str) -> None:
    (tmp_path / "etc").mkdir()
    path = tmp_path / "etc/group"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/etc/group")
    else:
        path.mkdir()
    assert Survey().look(guest, ALICE, {}).groups == ()


def test_a_process_of_our_own_network_is_not_looked_at(guest: Any) -> None:
    assert Survey().look(guest, None, {}).network.without_address == ()


def test_the_command_of_a_process() -> None:
    assert command_of(os.getpid())[0]
    assert command_of(0) == ()
    assert command_of(2**22 + 1) == ()
