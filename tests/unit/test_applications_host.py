"""The desktop entries of a container, read through its root alone, whatever its inhabitants put there."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from desktop_root import Root, container_root, entry
from isod.host import applications
from isod.host.as_account import Viewer
from isod.ports import Account
from isod_contract import limits

SYSTEM = "usr/share/applications"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    with container_root(tmp_path / "root") as made:
        yield made


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


@pytest.mark.parametrize("name", [b"\xff.desktop", b"a\nb.desktop", b".desktop", b"-.txt"])
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
    found = root.applications()
    assert len(found) > 100
    assert sum(len(word) for item in found for word in item.command) <= 1 << 20


@pytest.mark.parametrize(
    "name", ["Baldur's Gate 3", "xfce terminal", "umlaut-ü", "Foo, Bar [x] {1}", "a;b & c", "日本"]
)
def test_any_name_that_people_have_is_read(root: Root, name: str) -> None:
    """D-12."""
    root.write(f"{SYSTEM}/{name}.desktop", entry(name))
    assert [(item.id, item.name) for item in root.applications()] == [(name, name)]


def test_subdirectories_are_part_of_the_id(root: Root) -> None:
    """D-12: wine/Programs/x.desktop is wine-Programs-x (Desktop Menu Specification); the user's hides the system's."""
    root.write("home/alice/.local/share/applications/wine/Programs/x.desktop", entry("mine"))
    root.write(f"{SYSTEM}/wine-Programs-x.desktop", entry("system"))
    root.write(f"{SYSTEM}/a b/c.d/y.desktop", entry("deep"))
    root.write(f"{SYSTEM}/z.desktop/inside.desktop", entry("a directory of that name is none"))
    assert [(item.id, item.name) for item in root.applications()] == [
        ("a b-c.d-y", "deep"),
        ("wine-Programs-x", "mine"),
    ]


def test_a_linked_subdirectory_is_read(root: Root) -> None:
    root.write("opt/apps/x.desktop", entry("x"))
    root.link(f"{SYSTEM}/vendor", "/opt/apps")
    assert [item.id for item in root.applications()] == ["vendor-x"]


@pytest.mark.attack("C02")
def test_no_linked_subdirectory_leads_to_the_host(root: Root, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret.desktop").write_text(entry("secret"))
    root.write(f"{SYSTEM}/ok.desktop", entry("ok"))
    root.link(f"{SYSTEM}/a", str(tmp_path / "outside"))
    root.link(f"{SYSTEM}/b", f"../../../../{tmp_path.name}/outside")
    root.link(f"{SYSTEM}/c", f"/proc/self/root{tmp_path}/outside")
    assert root.names() == ["ok"]


@pytest.mark.attack("C14")
def test_circles_and_depth_are_bounded(root: Root) -> None:
    """Links that lead up would be an endless tree: 2 of them in each directory, and a chain of 60 directories."""
    root.write(f"{SYSTEM}/sub/ok.desktop", entry("ok"))
    for place in (SYSTEM, f"{SYSTEM}/sub"):
        root.link(f"{place}/up", "/" + SYSTEM)
        root.link(f"{place}/here", ".")
    root.write(f"{SYSTEM}/{'d/' * 60}deep.desktop", entry("deep"))
    assert root.names() == ["ok"]


@pytest.mark.attack("C14")
def test_a_tree_that_fans_out_is_bounded(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """30 ** 8 directories by links that lead sideways; what the user has besides is read first."""
    root.write("home/alice/.local/share/applications/mine.desktop", entry("mine"))
    for level in range(8):
        (root.path / f"srv/{level}").mkdir(parents=True)
        for number in range(30):
            root.link(f"srv/{level}/{number}", f"/srv/{level + 1}")
    root.write("srv/8/x.desktop", entry("x"))
    root.link("usr/share/applications", "/srv/0")
    opened: list[str] = []
    real = applications.open_readable

    def counted(root_fd: int, path: str, viewer: Viewer) -> tuple[int, os.stat_result]:
        opened.append(path)
        return real(root_fd, path, viewer)

    monkeypatch.setattr(applications, "open_readable", counted)
    assert "mine" in root.names()
    assert len(opened) < 2000


@pytest.mark.attack("C14")
def test_what_was_read_in_time_is_told(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that answers slowly must not cost what was read already."""
    root.write("home/alice/.local/share/applications/mine.desktop", entry("mine"))
    for number in range(500):
        root.write(f"{SYSTEM}/{number}.desktop", entry("slow"))
    monkeypatch.setattr(applications, "_DEADLINE_SEC", 0.2)
    real = applications.open_readable

    def slow(root_fd: int, path: str, viewer: Viewer) -> tuple[int, os.stat_result]:
        if path.startswith(f"{SYSTEM}/"):
            time.sleep(0.02)
        return real(root_fd, path, viewer)

    monkeypatch.setattr(applications, "open_readable", slow)
    names = root.names()
    assert "mine" in names
    assert len(names) < 500


@pytest.mark.parametrize("place", ["usr/bin", "usr/games", "run/current-system/sw/bin", "home/alice/.local/bin"])
def test_what_wants_a_program_that_is_not_there_is_left_out(root: Root, place: str) -> None:
    """D-14: TryExec."""
    for name, program in (("found", "foo"), ("by path", f"/{place}/foo"), ("missing", "bar"), ("relative", "./foo")):
        root.write(f"{SYSTEM}/{name}.desktop", entry(name, TryExec=program))
    root.write(f"{place}/foo", "").chmod(0o755)
    assert root.names() == ["by path", "found"]


@pytest.mark.attack("C02")
def test_a_program_is_looked_for_inside_and_must_be_one(root: Root, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("")
    (tmp_path / "outside").chmod(0o755)
    for name, program in (
        ("host", str(tmp_path / "outside")),
        ("climb", f"/../{tmp_path.name}/outside"),
        ("directory", "/usr"),
        ("plain", "/plain"),
        ("loop", "/loop"),
        ("fifo", "/fifo"),
        ("zero", "/a\0b"),
    ):
        root.write(f"{SYSTEM}/{name}.desktop", entry(name, TryExec=program))
    root.write("plain", "").chmod(0o644)
    root.link("loop", "loop")
    os.mkfifo(root.path / "fifo")
    assert root.names() == []


def test_an_entry_in_latin_1_can_be_read(root: Root) -> None:
    """Section 7 of desktop.md: the menu showed `Caf` and a sign for what it could not read."""
    file = root.write(f"{SYSTEM}/cafe.desktop", "")
    file.write_bytes(entry("Café").encode("latin-1") + "Comment=Café ü\n".encode())
    ((name, comment),) = [(item.name, item.comment) for item in root.applications()]
    assert (name, comment) == ("Café", "Café ü")


GLIB = """
import sys
from gi.repository import Gio
for app in Gio.AppInfo.get_all():
    if app.should_show():
        print(app.get_id().removesuffix(".desktop"), app.get_name(), app.get_string("Path") or "", sep="\\t")
"""


def test_what_glib_shows_is_shown(root: Root) -> None:
    """D-12, D-14: the same files give the same ids, names and directories as GLib's own reading."""
    python = "/usr/bin/python3"
    if (
        not Path(python).exists()
        or subprocess.run([python, "-c", "from gi.repository import Gio"], check=False).returncode
    ):
        pytest.skip("GLib's bindings for Python are not installed (python3-gi)")
    files = {
        "Baldur's Gate 3": entry("Baldur's Gate 3", "true"),
        "xfce terminal": entry("Xfce", "true"),
        "umlaut-ü": entry("Umlaut", "true"),
        "a,b [c]": entry("Brackets", "true"),
        "wine/Programs/x": entry("Wine", "env W=1 true"),
        "htop": entry("htop", "true", Terminal="true"),
        "path": entry("Path", "true", Path="/usr/share"),
        "org.example.Bus": "[Desktop Entry]\nType=Application\nName=Bus\nDBusActivatable=true\n",
        "only-kde": entry("KDE", "true", OnlyShowIn="KDE;"),
        "only-sway": entry("sway", "true", OnlyShowIn="GNOME;sway;"),
        "not-sway": entry("not sway", "true", NotShowIn="sway;"),
        "not-kde": entry("not KDE", "true", NotShowIn="KDE;"),
        "try": entry("Try", "true", TryExec="true"),
        "try-path": entry("Try path", "true", TryExec="/usr/bin/true"),
        "try-missing": entry("Missing", "true", TryExec="nosuchprogram"),
        "hidden": entry("Hidden", "true", Hidden="true"),
        "no-display": entry("No display", "true", NoDisplay="true"),
        "spaces": "[Desktop Entry]\nType = Application\nName =  Spaces\nExec = true\n",
    }
    for name, text in files.items():
        root.write(f"{SYSTEM}/{name}.desktop", text)
    root.write("usr/bin/true", "").chmod(0o755)
    shown = subprocess.run(
        [python, "-c", GLIB],
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(root.path / "nosuch"),
            "XDG_DATA_HOME": str(root.path / "nosuch"),
            "XDG_DATA_DIRS": str(root.path / "usr/share"),
            "XDG_CURRENT_DESKTOP": "sway",
            "LANG": "C.UTF-8",
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    ours = {f"{item.id}\t{item.name}\t{item.directory}" for item in root.applications(desktops=("sway",))}
    assert ours == set(shown.splitlines())
