"""`isoctl exposure` in containers of every kind: what an app reaches is listed, what it does not reach is not."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from lab.compositors import Sway
from lab.devices import Card, can_open, graphics
from lab.enter import LabProcess
from lab.faults import drop_in
from lab.machine import Lab
from lab.policies import added_policy

OF_THE_NETWORK = {"network-shared", "abstract-socket", "loopback", "other-container", "x-server"}
LISTENER = """
import socket, sys
made = [socket.socket(socket.AF_UNIX), socket.socket(socket.AF_INET)]
made[0].bind("\\0lab-" + sys.argv[1])
made[1].bind(("127.0.0.1", 0))
for listener in made:
    listener.listen()
print(made[1].getsockname()[1], flush=True)
sys.stdin.read()
"""
# nix-daemon's side of the hello, to a client that it trusts
NIX_DAEMON = """
import os, socket, struct
path = "/nix/var/nix/daemon-socket/socket"
os.makedirs(os.path.dirname(path), exist_ok=True)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
os.chmod(path, 0o666)
listener.listen()
print("ready", flush=True)
while True:
    peer, _ = listener.accept()
    with peer:
        if peer.recv(4096):
            name = b"2.24.1\\0\\0"
            peer.sendall(struct.pack("<QQQ", 0x6478696F, 0x126, 6) + name + struct.pack("<Q", 1))
"""

# the container of the attacker's own, and binds, are made on purpose
pytestmark = pytest.mark.timeout(300)


def exposure(lab: Lab, container: str, desk: Sway | None = None) -> dict[str, Any]:
    command = ("isoctl", "exposure", "--json", container)
    done = desk.run(*command, check=False) if desk else lab.run(*command, user="alice", check=False)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["complete"], report["notes"]
    severities = [("critical", "high", "medium", "low").index(item["severity"]) for item in report["exposures"]]
    assert severities == sorted(severities)
    assert all(item["fix"] for item in report["exposures"])
    return report


def told(report: dict[str, Any], code: str) -> str:
    """All sentences of one code."""
    return "\n".join(item["what"] for item in report["exposures"] if item["code"] == code)


def codes(report: dict[str, Any]) -> set[str]:
    return {item["code"] for item in report["exposures"]}


@contextmanager
def speaking(process: LabProcess) -> Iterator[str]:
    """A helper process until the end, with its first line."""
    with process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().decode().strip()
        finally:
            process.end()


@pytest.fixture(scope="module")
def lab(desktop_lab: Lab) -> Lab:
    for name in ("blog", "net", "priv", "shared"):
        desktop_lab.run("isoctl", "run", name, "true", user="alice")
    return desktop_lab


@pytest.fixture(scope="module")
def desk(lab: Lab) -> Iterator[Sway]:
    """Alice's desktop with an X11 program on it, so that the user's own Xwayland runs."""
    with lab.desktop("alice", tells="nothing") as desktop:
        desktop.popen("xterm")
        desktop.wait_window(x11=True)
        yield desktop


@pytest.fixture(scope="module")
def listeners(lab: Lab) -> Iterator[dict[str, str]]:
    """Who listens, and on which port of 127.0.0.1: a process of the host, of another container, of blog itself."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with ExitStack() as stack:
        argv = ("python3", "-c", LISTENER)
        yield {
            "host": stack.enter_context(speaking(lab.popen(*argv, "host", **pipes))),
            "shared": stack.enter_context(speaking(lab.container_popen("shared", *argv, "shared", **pipes))),
            "blog": stack.enter_context(speaking(lab.container_popen("blog", *argv, "blog", user="alice", **pipes))),
        }


@pytest.mark.attack("C25")
def test_a_shared_network_shows_what_is_the_hosts(lab: Lab, desk: Sway, listeners: dict[str, str]) -> None:
    """The X server's abstract socket, and what listens on 127.0.0.1: with no bind at all."""
    report = exposure(lab, "blog", desk)
    assert codes(report) >= OF_THE_NETWORK | {"root-is-root"}
    display = desk.env["DISPLAY"].removeprefix(":")
    assert f"@/tmp/.X11-unix/X{display} " in told(report, "x-server")
    assert "lets it in" in told(report, "x-server")
    assert f"127.0.0.1:{listeners['host']} accepts" in told(report, "loopback")
    assert "@lab-host" in told(report, "abstract-socket")
    assert "@lab-shared of container@shared.service" in told(report, "other-container")
    # the container's own are nobody else's
    everything = json.dumps(report["exposures"])
    assert "@lab-blog" not in everything
    assert f"127.0.0.1:{listeners['blog']} " not in everything


@pytest.mark.attack("C25")
def test_a_private_network_shows_none_of_them(lab: Lab, desk: Sway, listeners: dict[str, str]) -> None:
    report = exposure(lab, "net", desk)
    assert not codes(report) & OF_THE_NETWORK
    assert codes(report) == {"root-is-root", "wayland"}


def test_private_users_make_root_inside_nobody(lab: Lab, desk: Sway) -> None:
    report = exposure(lab, "priv", desk)
    assert report["user_namespace"] is True
    assert codes(report) == {"wayland"}


@pytest.mark.attack("C18")
def test_wayland_is_judged_by_what_the_app_is_offered(lab: Lab, desk: Sway) -> None:
    (item,) = [item for item in exposure(lab, "net", desk)["exposures"] if item["code"] == "wayland"]
    assert item["severity"] == "low"
    with added_policy(lab, "net", "[grants]", 'wayland = "raw"'):
        (item,) = [item for item in exposure(lab, "net", desk)["exposures"] if item["code"] == "wayland"]
        assert item["severity"] == "critical"
        assert "zwlr_screencopy_manager_v1" in item["what"]
        assert "zwp_virtual_keyboard_manager_v1" in item["what"]
        assert 'grants.wayland = "secured"' in item["fix"]
    with added_policy(lab, "net", "[grants]", 'wayland = "none"'):
        assert "wayland" not in codes(exposure(lab, "net", desk))


def test_without_a_display_of_the_callers_there_is_none_to_reach(lab: Lab) -> None:
    assert codes(exposure(lab, "net")) == {"root-is-root"}


@pytest.fixture(params=["python3", "perl", ""], ids=["python3", "perl", "neither"])
def tool(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    """Blog with this interpreter alone: root in there hides the others."""
    hidden = {"python3": (), "perl": ("python3",), "": ("python3", "perl")}[request.param]
    for name in hidden:
        lab.in_container("blog", "mount", "--bind", "/dev/null", f"/usr/bin/{name}")
    yield request.param
    for name in hidden:
        lab.in_container("blog", "umount", f"/usr/bin/{name}")


def test_what_is_measured_does_not_hang_on_an_interpreter(
    lab: Lab, desk: Sway, listeners: dict[str, str], tool: str
) -> None:
    report = exposure(lab, "blog", desk)
    assert report["tool"] == tool
    assert codes(report) >= OF_THE_NETWORK | {"root-is-root", "wayland"}
    assert f"127.0.0.1:{listeners['host']} " in told(report, "loopback")
    assert ("not tried" in told(report, "loopback")) is not tool
    assert bool(report["notes"]) is not bool(tool)
    assert "@lab-blog" not in json.dumps(report["exposures"])


@pytest.mark.attack("C19")
@pytest.mark.breaks("host-files")
def test_a_granted_device_is_listed_with_its_grant(lab: Lab) -> None:
    with graphics(lab) as made, added_policy(lab, "net", "[grants]", 'gpu = "render"'):
        card = made.add(Card())
        lab.wait_for(lambda: can_open(lab, "net", card.node) == "", 30, "the node can't be opened")
        (item,) = [item for item in exposure(lab, "net")["exposures"] if item["code"] == "device"]
        assert item["what"].startswith(f"{card.node} opens")
        assert 'grants.gpu = "none"' in item["fix"]
        # ... and the setting closes it
        path = lab.host_path("/etc/isod/containers/net.toml")
        path.write_text(path.read_text().replace('"render"', '"none"'))
        lab.run("isoctl", "reload")
        assert "device" not in codes(exposure(lab, "net"))


@pytest.mark.attack("C28")
@pytest.mark.breaks("host-files")
def test_what_the_unit_binds_is_found_and_the_fix_closes_it(lab: Lab) -> None:
    """A directory that can be written, the Nix daemon which trusts its user, and a socket that came along."""
    lab.run("install", "-d", "-o", "alice", "/srv/lab-data")
    # nspawn takes no bind of the .nspawn file where one is among the flags.
    flags = "--bind-ro=/usr --bind=/srv/lab-data:/data --bind-ro=/nix/var/nix/daemon-socket"
    pipe = subprocess.PIPE
    with speaking(lab.popen("python3", "-c", NIX_DAEMON, stdout=pipe)) as ready:
        assert ready == "ready"
        planted = drop_in(
            "container@net.service", f'Environment="EXTRA_NSPAWN_FLAGS=--private-network {flags}"', restart="net"
        )
        with planted(lab):
            report = exposure(lab, "net")
            assert codes(report) == {"root-is-root", "mount-writable", "nix-daemon"}
            assert "/data can be written, which is /srv/lab-data" in told(report, "mount-writable")
            assert "trusts it" in told(report, "nix-daemon")
            unit = lab.host_path("/etc/systemd/system/container@net.service.d/zz-test.conf")
            closed = (
                unit.read_text()
                .replace("--bind=/srv", "--bind-ro=/srv")
                .replace("--bind-ro=/nix/var/nix/daemon-socket", "--inaccessible=/nix/var/nix/daemon-socket")
            )
            unit.write_text(closed)
            lab.run("systemctl", "daemon-reload")
            lab.run("isoctl", "restart", "net")
            assert codes(exposure(lab, "net")) == {"root-is-root"}
    lab.run("rm", "-rf", "/srv/lab-data", "/nix/var/nix/daemon-socket")


def test_only_who_may_run_something_there_can_measure(lab: Lab) -> None:
    done = lab.run("isoctl", "exposure", "blog", user="mallory", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no container 'blog' that you may use" in done.stderr
