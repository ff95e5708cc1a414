"""The desktop entries of a container, read through its root alone, whatever its inhabitants put there."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from closed import until_open_are
from isod.host.applications import read_applications
from isod.ports import Account
from isod_contract import limits

ALICE = Account("alice", 1000, 1000, "/home/alice", "/bin/bash")
SYSTEM = "usr/share/applications"


def entry(name: str, command: str = "foo", **keys: str) -> str:
    values = {"Type": "Application", "Name": name, "Exec": command, **keys}
    return "[Desktop Entry]\n" + "".join(f"{key}={value}\n" for key, value in values.items())


class Root:
    """A container's root directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_PATH | os.O_DIRECTORY)

    def write(self, path: str, text: str) -> Path:
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def link(self, path: str, target: str) -> None:
        (self.path / path).parent.mkdir(parents=True, exist_ok=True)
        (self.path / path).symlink_to(target)

    def names(self, account: Account = ALICE) -> list[str]:
        return [item.name for item in read_applications(self.fd, account, ())]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    (tmp_path / "root").mkdir()
    made = Root(tmp_path / "root")
    before = len(os.listdir("/proc/self/fd"))
    yield made
    until_open_are(before)
    os.close(made.fd)


def test_a_container_without_any_has_none(root: Root) -> None:
    assert root.names() == []


def test_all_places_are_read_and_sorted_by_name(root: Root) -> None:
    places = (
        "home/alice/.local/share",
        "home/alice/.local/state/nix/profile/share",
        "home/alice/.nix-profile/share",
        "etc/profiles/per-user/alice/share",
        "run/current-system/sw/share",
        "usr/local/share",
        "usr/share",
    )
    for number, place in enumerate(places):
        root.write(f"{place}/applications/app{number}.desktop", entry(f"{'bA'[number % 2]}{number}"))
    root.write("home/bob/.local/share/applications/bobs.desktop", entry("bob's"))
    assert root.names() == ["A1", "A3", "A5", "b0", "b2", "b4", "b6"]


def test_the_users_own_hides_the_systems(root: Root) -> None:
    root.write(f"{SYSTEM}/foo.desktop", entry("system"))
    root.write(f"{SYSTEM}/gone.desktop", entry("gone"))
    root.write("home/alice/.local/share/applications/foo.desktop", entry("mine"))
    root.write("home/alice/.local/share/applications/gone.desktop", "[Desktop Entry]\nHidden=true\n")
    assert root.names() == ["mine"]


def test_links_lead_where_they_lead_inside(root: Root) -> None:
    """As in NixOS, where each of these is a link into the store."""
    root.write("nix/store/x/share/applications/foo.desktop", entry("foo"))
    root.write("nix/store/y/bar.desktop", entry("bar"))
    root.link("run/current-system", "/nix/store/sys")
    root.link("nix/store/sys/sw", "/nix/store/x")
    root.link("nix/store/x/share/applications/bar.desktop", "/nix/store/y/bar.desktop")
    assert root.names() == ["bar", "foo"]


@pytest.mark.attack("C02")
@pytest.mark.parametrize("climb", ["", "/../../../../../../../../.."])
def test_no_link_leads_to_the_host(root: Root, tmp_path: Path, climb: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.desktop").write_text(entry("secret"))
    root.write("x", "")
    root.link("usr/share/applications", f"{climb}{outside}")
    root.write("usr/local/share/applications/ok.desktop", entry("ok"))
    root.link("usr/local/share/applications/a.desktop", f"{climb}{outside}/secret.desktop")
    root.link("usr/local/share/applications/b.desktop", f"/proc/self/root{outside}/secret.desktop")
    root.link("usr/local/share/applications/c.desktop", f"/proc/{os.getpid()}/cwd/secret.desktop")
    assert root.names() == ["ok"]


def test_the_home_of_an_account_leads_nowhere_else(root: Root, tmp_path: Path) -> None:
    (tmp_path / "outside/.local/share/applications").mkdir(parents=True)
    (tmp_path / "outside/.local/share/applications/secret.desktop").write_text(entry("secret"))
    for home in ("/../outside", "../outside", "/..", "/home/a\0b", "/home/\udcff", "", "/"):
        assert root.names(Account("../..", 1000, 1000, home, "/bin/sh")) == []


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))


def _directory(path: Path) -> None:
    path.mkdir()


def _huge(path: Path) -> None:
    path.write_text(entry("huge"))
    os.truncate(path, 1 << 40)


def _binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 16)


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.attack("C02")
@pytest.mark.parametrize("make", [_fifo, _device, _directory, _huge, _binary, _loop])
def test_what_is_no_small_text_is_left_out_and_nothing_waits_for_it(root: Root, make: Callable[[Path], None]) -> None:
    if make is _device and os.geteuid() != 0:
        pytest.skip("making a device takes root")
    root.write(f"{SYSTEM}/ok.desktop", entry("ok"))
    make(root.path / SYSTEM / "bad.desktop")
    assert root.names() == ["ok"]


@pytest.mark.parametrize("name", [b"\xff.desktop", b"\xc3\xa9.desktop", b"a\nb.desktop", b".desktop", b"-.txt"])
def test_a_name_that_is_no_id_is_left_out(root: Root, name: bytes) -> None:
    root.write(f"{SYSTEM}/ok.desktop", entry("ok"))
    (Path(os.fsdecode(bytes(root.path / SYSTEM) + b"/" + name))).write_text(entry("odd"))
    assert root.names() == ["ok"]


@pytest.mark.parametrize("bad", ["usr", "usr/share", "usr/share/applications"])
def test_a_file_in_the_place_of_a_directory_hides_no_other_place(root: Root, bad: str) -> None:
    root.write("home/alice/.local/share/applications/ok.desktop", entry("ok"))
    root.write(bad, "")
    assert root.names() == ["ok"]


@pytest.mark.attack("C14")
def test_five_thousand_entries_are_bounded(root: Root) -> None:
    directory = root.write(f"{SYSTEM}/app.desktop", entry("app")).parent
    for number in range(5000):
        os.link(directory / "app.desktop", directory / f"app{number}.desktop")
    root.write("home/alice/.local/share/applications/mine.desktop", entry("mine"))
    names = root.names()
    assert len(names) == limits.APPLICATIONS_MAX
    assert "mine" in names


@pytest.mark.attack("C14")
def test_all_of_them_fit_into_one_message(root: Root) -> None:
    """A reply that is larger than a message may be is an error instead of a menu."""
    line = " ".join(["a" * 2000] * 4)
    for number in range(1000):
        root.write(f"{SYSTEM}/{number}.desktop", entry(f"{number}", line, Comment="x" * 4000))
    found = read_applications(root.fd, ALICE, ())
    assert len(found) > 100
    assert sum(len(word) for item in found for word in item.command) <= 1 << 20
