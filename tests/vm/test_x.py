"""X servers of containers on a host of its own: with real graphics devices, and where nobody may make namespaces."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from test_gpu import RENDER, asked, granted
from vm.machine import Vm

pytestmark = [pytest.mark.vm, pytest.mark.timeout(7200)]

SWAY = "WLR_BACKENDS=headless WLR_RENDERER=pixman WLR_LIBINPUT_NO_DEVICES=1 exec sway --config /tmp/sway.conf"
CONFIG = "output HEADLESS-1 resolution 1280x720\nxwayland disable\n"
BY_HOST = "isoctl-x11-1000-blog.service"
DROP_IN = "/etc/systemd/user/isod-session.service.d/without-user-namespaces.conf"


@pytest.fixture(scope="module", autouse=True)
def screen(vm: Vm) -> Iterator[None]:
    vm.write("/tmp/sway.conf", CONFIG)
    with vm.popen("sh", "-c", SWAY, user="alice", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sway:
        find = ("sh", "-c", "ls /run/user/1000/wayland-?")
        vm.wait_for(lambda: vm.run(*find, user="alice", check=False).returncode == 0, "no compositor", 120)
        for container in ("blog", "priv"):
            vm.run("isoctl", "run", container, "true", user="alice")
        yield
        vm.run("pkill", "-u", "alice", "-x", "sway")
        sway.wait()


@contextmanager
def window(vm: Vm, container: str, title: str) -> Iterator[None]:
    """Have an X program with a window of this title."""
    argv = ("isoctl", "run", container, "--", "xterm", "-T", title, "-e", "sleep", "100000")
    with vm.popen(*argv, user="alice", stderr=subprocess.PIPE) as process:
        look = ("isoctl", "run", container, "--", "xwininfo", "-root", "-tree")
        vm.wait_for(lambda: f'"{title}"' in vm.run(*look, user="alice", check=False).stdout, f"no window {title}", 120)
        yield
        vm.run("pkill", "-u", "alice", "-f", f"^xterm -T {title}")
        process.wait()


def servers(vm: Vm) -> list[str]:
    return vm.run("pgrep", "-u", "alice", "-x", "Xwayland").stdout.split()


def nodes(vm: Vm, pids: list[str]) -> list[str]:
    """The devices of graphics that processes have open, and those that they could open by name."""
    script = "for pid; do readlink /proc/$pid/fd/* | grep ^/dev/dri; ls /proc/$pid/root/dev/dri 2>/dev/null; done; true"
    return vm.run("sh", "-c", script, "sh", *pids).stdout.split()


@pytest.mark.attack("C41")
@pytest.mark.parametrize("container", ["blog", "priv"])
def test_windows_with_the_grant_and_without_and_no_device_without(vm: Vm, container: str) -> None:
    """A8: the server opened the node on the host, whatever the container's grant said."""
    for count in range(2):
        with window(vm, container, f"without{count}"):
            clients = vm.run("pgrep", "-u", "alice", "-x", "xterm").stdout.split()
            assert clients
            assert nodes(vm, [*servers(vm), *clients]) == []
            assert asked(vm, container, "/dev/dri/renderD128")["dri"] == []
        with granted(vm, RENDER, container):
            vm.wait_for(lambda: "driver" in asked(vm, container, "/dev/dri/renderD128"), "no device")
            with window(vm, container, f"with{count}"):
                assert {"renderD128", "renderD129"} <= set(nodes(vm, servers(vm)))
                assert asked(vm, container, "/dev/dri/renderD128")["driver"] == "virtio_gpu"
    with window(vm, container, "afterwards"):
        assert nodes(vm, servers(vm)) == []


@pytest.mark.attack("C40")
def test_the_server_has_its_walls_where_nobody_may_make_user_namespaces(vm: Vm) -> None:
    """user.max_user_namespaces=0 holds for root too: the host's systemd makes all other walls."""
    example = "/usr/share/doc/isoctl/examples/isod-session-without-user-namespaces.conf"
    before = vm.run("sysctl", "-n", "user.max_user_namespaces").stdout.strip()
    vm.run("sh", "-c", f"mkdir -p {DROP_IN.rpartition('/')[0]} && cp {example} {DROP_IN}")
    reload = ("systemctl", "--machine=alice@", "--user")
    try:
        vm.run("sysctl", "-w", "user.max_user_namespaces=0")
        assert vm.run("unshare", "--user", "true", user="alice", check=False).returncode
        vm.run(*reload, "daemon-reload")
        vm.run(*reload, "stop", "isoctl-x11-blog.service", check=False)
        vm.run(*reload, "restart", "isod-session.service")
        with window(vm, "blog", "no-namespaces"):
            assert vm.run("systemctl", "is-active", BY_HOST).stdout == "active\n"
            assert vm.run("systemctl", "show", "-P", "User", BY_HOST).stdout == "1000\n"
            (server,) = servers(vm)
            for name in ("mnt", "net", "ipc", "pid"):
                own, host = vm.run("readlink", f"/proc/{server}/ns/{name}", f"/proc/1/ns/{name}").stdout.split()
                assert own != host, name
            status = vm.run("grep", "-E", "^(NoNewPrivs|Seccomp|CapEff|CapBnd):", f"/proc/{server}/status").stdout
            assert status.split() == ["CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1", "Seccomp:", "2"]
    finally:
        vm.run("sysctl", "-w", f"user.max_user_namespaces={before}")
        vm.run("rm", "-r", DROP_IN.rpartition("/")[0])
        vm.run(*reload, "daemon-reload")
        vm.run("systemctl", "stop", BY_HOST, check=False)
        vm.run(*reload, "restart", "isod-session.service")
