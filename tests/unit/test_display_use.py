"""Who is connected to a container's displays, by what the kernel tells of its sockets and control groups."""

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from isod.core.windows import ShownSocket, UnknownUse, bound_to
from isod.host import display_use
from isod.host.display_use import used_by
from isod.host.displays import ContainerDirectories
from isod.ports import Directory

UID = 1000
PLACE = Directory("blog", UID, (os.getuid(), os.getgid()))


class World:
    """This process in the place of a container's first, with control groups of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pidfd = os.pidfd_open(os.getpid())
        self.directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        self.cgroups = directory / "cgroups"
        groups = Path("/proc/self/cgroup").read_text().splitlines()
        own = next(line.removeprefix("0::") for line in groups if line.startswith("0::"))
        above = self.cgroups / os.path.dirname(own).lstrip("/")
        self.container = above
        self.manager = above / f"user.slice/user-{UID}.slice/user@{UID}.service"
        self.unit("init.scope", 2)

    def unit(self, path: str, processes: int) -> None:
        (self.manager / path).mkdir(parents=True)
        for parent in (self.manager / path).relative_to(self.manager).parents:
            (self.manager / parent / "cgroup.procs").touch()
        (self.manager / path / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in range(processes)))

    def outside(self, path: str, pid: int) -> None:
        """Have a process run elsewhere in the container; its real name and owner are what the kernel tells."""
        directory = self.container
        for name in path.split("/"):
            directory /= name
            directory.mkdir(exist_ok=True)
            (directory / "cgroup.procs").touch()
        (self.container / "cgroup.procs").touch()
        (directory / "cgroup.procs").write_text(f"{pid}\n")

    def listen(self, name: str = "wayland-0") -> int:
        return ContainerDirectories(self.directory).listen(self.directory_fd, name, PLACE)[0]

    def connect(self, name: str = "wayland-0") -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(self.directory / name))
        return client

    def shown(self, listener: int) -> ShownSocket:
        return ShownSocket(UID, bound_to(listener), is_isods=True)

    def used_by(self, *sockets: ShownSocket) -> str:
        return used_by(self.pidfd, sockets, self.cgroups)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    os.close(made.directory_fd)
    with contextlib.suppress(OSError):
        os.close(made.pidfd)


def test_nobody_is_connected(world: World) -> None:
    listener = world.listen()
    assert world.used_by() == ""
    assert world.used_by(world.shown(listener)) == ""
    os.close(listener)


@pytest.mark.parametrize("accepted", [False, True])
def test_a_client_is_seen_for_as_long_as_it_is_connected(world: World, accepted: bool) -> None:
    listener = world.listen()
    shown = world.shown(listener)
    with world.connect(), contextlib.ExitStack() as stack:
        if accepted:
            with socket.socket(fileno=os.dup(listener)) as server:
                stack.enter_context(server.accept()[0])
        assert world.used_by(shown) == "1 connection to its display"
    os.close(listener)
    assert "connections" not in world.used_by(ShownSocket(UID, "/nowhere"))


def test_a_client_of_another_containers_socket_is_not(world: World) -> None:
    """Both have the host's network, and both sockets have one name."""
    first = world.listen()
    (world.directory / "wayland-0").unlink()
    second = world.listen()
    with world.connect():
        assert world.used_by(world.shown(first)) == ""
        assert world.used_by(world.shown(second)) != ""
    os.close(first)
    os.close(second)


def test_services_that_are_connected_and_show_nothing_keep_nothing(world: World) -> None:
    """Else a container in which a program once opened a portal would never be idle."""
    listener = world.listen()
    shown = world.shown(listener)
    world.unit("session.slice/xdg-desktop-portal-gtk.service", 1)
    world.unit("app.slice/xdg-desktop-portal-gone.service", 0)
    with world.connect():
        assert world.used_by(shown) == ""
        with world.connect():
            assert world.used_by(shown) == "2 connections to its display"
    os.close(listener)


def test_what_portals_leave_running_keeps_nothing_where_connections_can_t_be_counted(world: World) -> None:
    """On mutter no container was idle any more in which a program had once asked a portal."""
    world.unit("session.slice/xdg-permission-store.service", 1)
    world.unit("session.slice/xdg-document-portal.service", 2)
    assert world.used_by(ShownSocket(UID, "/nowhere")) == ""
    world.unit("app.slice/editor.service", 1)
    assert world.used_by(ShownSocket(UID, "/nowhere")) != ""


def test_services_without_a_connection_excuse_nobodys(world: World) -> None:
    """N6, and each kind of it: what shows nothing is often not connected either, and somebody else is."""
    listener = world.listen()
    for unit in ("gvfs-daemon", "at-spi-dbus-bus", "xdg-desktop-portal", "xdg-desktop-portal-gtk", "dconf"):
        world.unit(f"session.slice/{unit}.service", 1)
    with world.connect():
        assert world.used_by(world.shown(listener)) == ""
        world.unit("app.slice/gnome-terminal-server.service", 1)
        assert world.used_by(world.shown(listener)) == "1 connection to its display"
        with world.connect():
            assert world.used_by(world.shown(listener)) == "2 connections to its display"
    os.close(listener)


@contextlib.contextmanager
def running(uid: int, name: str = "cat") -> Iterator[int]:
    """Hold a process of that uid and name."""
    argv = {"cat": ["cat"], "sleep": ["sleep", "infinity"]}[name]
    owner = {"user": uid} if os.getuid() == 0 else {}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, **owner) as process:
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize("path", ["system.slice/viewer.service", f"user.slice/user-{UID}.slice/session-3.scope"])
@pytest.mark.parametrize("is_isods", [True, False])
def test_a_program_outside_the_accounts_manager_is_excused_by_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, path: str, is_isods: bool
) -> None:
    """One of a service or timer with User=, or that outlives its session: one connected portal had it closed."""
    listener = world.listen()
    shown = world.shown(listener) if is_isods else ShownSocket(UID, "/run/user/1000/wayland-0")
    world.unit("session.slice/gvfs-daemon.service", 1)
    own = UID if os.getuid() == 0 else os.getuid()
    monkeypatch.setattr(display_use, "_on_host", lambda _pid, _uid: own)
    with world.connect() if is_isods else contextlib.nullcontext(), running(own) as pid:
        assert world.used_by(shown) == ""
        world.outside(path, pid)
        expected = "1 connection to its display" if is_isods else f"{os.path.basename(path)} of uid {UID}"
        assert world.used_by(shown) == expected
    os.close(listener)


def test_what_holds_the_session_and_processes_of_others_keep_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session that isod keeps for each user is a `sleep infinity`; and root has services everywhere."""
    shown = ShownSocket(UID, "/run/user/1000/wayland-0")
    own = UID if os.getuid() == 0 else os.getuid()
    monkeypatch.setattr(display_use, "_on_host", lambda _pid, _uid: own)
    with running(own, "sleep") as keeper:
        world.outside(f"user.slice/user-{UID}.slice/session-c1.scope", keeper)
        world.outside("system.slice/other.service", 1)  # root
        assert world.used_by(shown) == ""
        monkeypatch.setattr(display_use, "_PROCESSES_READ_MAX", 0)
        with pytest.raises(UnknownUse, match="processes"):
            world.used_by(shown)


def test_an_accounts_uid_on_the_host_is_by_the_containers_map() -> None:
    assert display_use._on_host(os.getpid(), 0) == -1
    assert display_use._on_host(os.getpid(), 1000) in (1000, -1)


@pytest.mark.attack("C25")
@pytest.mark.parametrize(
    "path",
    ["x\n1 2 3 zz 5 \udcff 7 8", "x\n1 2 3 4 5 \udcff 7 8", "x\n1 2 3 zz 5 03 7 8", "x\n1", "\0x\n1 2 3 - 5 02 7 8"],
)
def test_names_that_look_like_lines_of_the_table_hide_nothing(world: World, path: str) -> None:
    """Newlines of a path are printed as they are; with the host's network any of its users can bind such a socket."""
    listener = world.listen()
    with socket.socket(socket.AF_UNIX) as evil, world.connect():
        evil.bind(path if path.startswith("\0") else f"{world.directory}/{path}")
        assert world.used_by(world.shown(listener)) == "1 connection to its display"
    os.close(listener)
    assert "connection" not in world.used_by(ShownSocket(UID, "/nowhere"))


def test_a_number_that_is_no_sockets_any_more_is_told_and_leaks_nothing(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with (tmp_path / "file").open("w") as other, pytest.raises(OSError, match="Socket operation on non-socket"):
        bound_to(other.fileno())
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("unit", "processes", "counts"),
    [
        ("app.slice/app-org.gnome.Terminal.slice/gnome-terminal-server.service", 1, True),
        ("session.slice/dbus.service", 1, False),
        ("session.slice/gpg-agent.service", 1, False),
        ("session.slice/gpg-agent.service", 2, True),  # a pinentry of its
        ("session.slice/dbus.service", 2, True),  # what dbus-daemon starts itself
        ("session.slice/xdg-desktop-portal-gtk.service", 2, False),
        ("app.slice/ended.service", 0, False),
    ],
)
def test_the_hosts_own_socket_is_judged_by_what_runs(world: World, unit: str, processes: int, counts: bool) -> None:
    """As on GNOME: connections of the host's own programs look the same, since it is one network here."""
    world.unit(unit, processes)
    used = world.used_by(ShownSocket(UID, "/run/user/1000/wayland-0"))
    assert bool(used) is counts
    assert used in ("", f"{os.path.basename(unit)} of uid {UID}")


@pytest.mark.attack("C14")
def test_too_much_of_either_is_unknown_and_not_read_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = world.listen()
    for number in range(30):
        world.unit(f"app.slice/{number}.service", 0)
    monkeypatch.setattr(display_use, "_CGROUPS_READ_MAX", 20)
    with pytest.raises(UnknownUse, match="control groups"):
        world.used_by(world.shown(listener))
    monkeypatch.setattr(display_use, "_TABLE_BYTES_MAX", 10)
    with pytest.raises(UnknownUse, match="connections"):
        world.used_by(world.shown(listener))
    os.close(listener)


def test_a_container_that_has_ended_uses_nothing(world: World) -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    pidfd = os.pidfd_open(pid)
    os.waitpid(pid, 0)
    assert used_by(pidfd, [ShownSocket(UID, "/x")], world.cgroups) == ""
    os.close(pidfd)
