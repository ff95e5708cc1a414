"""Tests of windows from containers: each on the lab that has compositors."""

from collections.abc import Iterator

import pytest

from lab.changes import unit_settings
from lab.compositors import Sway
from lab.machine import Lab
from lab.programs import forget_typed

# what isod-session makes, and what the host's own programs make at any time
NOT_OF_CONTAINERS = tuple(f"/run/user/1000/{name}" for name in ("isoctl", "dconf", "pipewire-", "dbus-1", "doc"))
CONTAINERS = ("blog", "priv", "net", "plain", "shared")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/lab/gui/" in str(item.path):
            item.add_marker(pytest.mark.gui)
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def lab(desktop_lab: Lab) -> Lab:
    return desktop_lab


@pytest.fixture(scope="module")
def desk(lab: Lab) -> Iterator[Sway]:
    """The desktop of alice: plain sway on the seat, which tells nobody that it is there."""
    with lab.desktop("alice", tells="nothing") as desktop:
        yield desktop


@pytest.fixture(scope="module", params=["user", "host"])
def mode(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    """Whose systemd runs the servers: the user's, or the host's where users may make no user namespace."""
    if request.param == "user":
        yield "user"
        return
    example = lab.host_path("/usr/share/doc/isoctl/examples/isod-session-without-user-namespaces.conf")
    drop_in = lab.host_path("/etc/systemd/user/isod-session.service.d/example.conf")
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text(example.read_text())
    try:
        with unit_settings(lab, "user@1000.service", "RestrictNamespaces=~user", restart=True):
            yield "host"
    finally:
        drop_in.unlink()
        drop_in.parent.rmdir()
        lab.run("systemctl", "restart", "user@1000.service")


@pytest.fixture(autouse=True)
def nothing_typed_yet(lab: Lab) -> None:
    for container in CONTAINERS:
        for user in ("alice", "carol"):
            forget_typed(lab, container, user)


def _host_directories(lab: Lab) -> set[str]:
    """What alice has on the host for her session."""
    listing = lab.run(
        *("find", "/run/user/1000", "/tmp/.X11-unix", "-path", "/run/user/1000/systemd", "-prune", "-o"),
        *("-printf", "%p %i %M %U %y\n"),
    ).stdout
    return {line for line in listing.splitlines() if not line.startswith(NOT_OF_CONTAINERS)}


def _compositors(lab: Lab) -> str:
    return lab.run("pgrep", "-u", "alice", "-x", "sway|labwc|weston|mutter|kwin_wayland", check=False).stdout


@pytest.fixture(autouse=True)
def host_is_untouched(lab: Lab) -> Iterator[None]:
    """I-24 and design 7: the host's own runtime directory and X11 sockets are the same before and after every test."""
    compositors, before = _compositors(lab), _host_directories(lab)
    yield
    # a compositor that came or went meanwhile made its sockets anew
    if _compositors(lab) == compositors:
        assert _host_directories(lab) == before


@pytest.fixture
def clean_desk(desk: Sway) -> Iterator[Sway]:
    """The same desktop with no window on it, before and after."""
    yield desk
    for window in desk.windows():
        # it may have gone by itself just now
        desk.run("swaymsg", f"[con_id={window.id}] kill", check=False)
    desk.wait_no_window()
