"""A container laid out as NixOS does it, from what the Nix module generates: isod, unchanged, prepares and runs it."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isod_contract import names
from lab.changes import kept
from lab.machine import Lab
from lab.nixos import USR_FLAG, Evaluated, install
from laid_out import laid_out

# `apart` shares nothing with the host's network and has Home Manager; `masked` has no Nix daemon.
_HOST = """
{ lib, ... }: {
  users.users.alice = { isNormalUser = true; uid = 1000; };
  betterContainers = {
    base.userName = "alice";
    base.acceptedExposures = [ "nix-daemon" ];
    containers.apart = {
      nixDaemon = true;
      network = "none";
      shares."/srv/shared" = { };
      shares."/srv/writable" = { mountPoint = "/srv/here"; readOnly = false; };
      config = [
        isoctl.traits.jvmDev
        { environment.sessionVariables = { XDG_RUNTIME_DIR = "/run/user/4711"; WAYLAND_DISPLAY = "wayland-stale"; }; }
      ];
    };
    containers.masked = { network = "none"; syscallFilter = [ "~@keyring" ]; };
    containers.routed.subnet = 7;
    containers.shifted = {
      network = "none";
      privateUsers = "pick";
      shares."/srv/shared" = { };
      shares."/srv/writable" = { mountPoint = "/srv/here"; readOnly = false; };
    };
  };
  containers = lib.genAttrs [ "apart" "masked" "routed" "shifted" ] (_: { extraFlags = [ "USR_FLAG" ]; });
  services.isod.containers.apart.environment.GREETING = "from policy";
}
"""
# Home Manager's unit, as it is ordered, and what its activation does first (lib-bash/activation-init.sh).
_HOME_MANAGER = """\
[Unit]
Before=systemd-user-sessions.service
RequiresMountsFor=/home/alice
[Service]
Type=oneshot
RemainAfterExit=yes
User=alice
Environment=PATH=/run/current-system/sw/bin
ExecStart=/bin/sh -c 'test -w /nix/var/nix/profiles/per-user/alice && test -w /nix/var/nix/gcroots/per-user/alice'
"""


NAMES = ("apart", "masked", "routed", "shifted")


@pytest.fixture(scope="module")
def evaluated() -> dict[str, Any]:
    return laid_out(_HOST.replace("USR_FLAG", USR_FLAG))


@pytest.fixture(scope="module")
def nixos(lab: Lab, evaluated: dict[str, Any]) -> Iterator[Lab]:
    # On a file system that can map owners.
    lab.run("mount", "-t", "tmpfs", "-o", "mode=755", "lab-srv", "/srv")
    lab.run("mkdir", "-p", "/srv/shared", "/srv/writable")
    lab.run("chown", "alice", "/srv/writable")
    for name in NAMES:
        units = {"home-manager-alice.service": _HOME_MANAGER} if name == "apart" else {}
        install(lab, Evaluated(name=name, units=units, **evaluated["containers"][name]))
    lab.run("isoctl", "reload")
    yield lab
    for name in NAMES:
        lab.run("systemctl", "stop", f"container@{name}", check=False)


def run(lab: Lab, name: str, *argv: str, user: str = "alice", code: int = 0) -> str:
    done = lab.run("isoctl", "run", name, "--", *argv, user=user, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def inside(lab: Lab, name: str, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run something as the container's root."""
    return lab.in_container(name, *argv, check=check, env={"PATH": "/run/current-system/sw/bin:/usr/bin"})


def test_isod_starts_and_runs_it(nixos: Lab) -> None:
    script = 'uname -n; id -un; stat -c "%a %U" $XDG_RUNTIME_DIR; command -v cat'
    assert run(nixos, "apart", "sh", "-c", script).split() == [
        *("apart", "alice", "700", "alice", "/run/current-system/sw/bin/cat"),
    ]
    run(nixos, "apart", "sh", "-c", "exit 7", code=7)
    assert nixos.run("systemctl", "show", "-P", "FragmentPath", "container@apart").stdout.strip() == (
        "/etc/systemd/system/container@apart.service"
    )


def test_its_launcher_runs_what_it_is_given(nixos: Lab, evaluated: dict[str, Any]) -> None:
    """R9: a command of the host for each container."""
    launcher = nixos.host_path("/usr/local/bin/apart-launcher")
    launcher.write_text(evaluated["launchers"]["apart-launcher"])
    launcher.chmod(0o755)
    done = nixos.run("apart-launcher", "sh", "-c", 'printf "<%s>" "$@"; uname -n', "sh", "a b", "$HOME", user="alice")
    assert done.stdout == "<a b><$HOME>apart\n"


def test_its_applications_are_what_the_system_profile_links(nixos: Lab) -> None:
    """What `isoctl menu` and so the launcher shows: links from the profile into the store."""
    run(nixos, "apart", "true")
    path = names.container_path("apart")
    shown = nixos.run("busctl", "call", names.BUS_NAME, path, names.CONTAINER, "ListApplications", user="alice").stdout
    assert '"IDEA"' in shown
    assert '"idea-community"' in shown


def test_what_it_needs_of_isod_was_bound_at_its_start(nixos: Lab) -> None:
    """NAME.conf carries the binds, so isod mounts nothing later."""
    run(nixos, "apart", "true")
    mounts = inside(nixos, "apart", "cat", "/proc/self/mountinfo").stdout
    points = {line.split()[4]: line.split()[5] for line in mounts.splitlines()}
    assert points["/run/isoctl"].startswith("ro")
    assert points["/dev/dri"].startswith("ro")
    assert points["/srv/shared"].startswith("ro")
    assert points["/srv/here"].startswith("rw")
    nixos.run("mkdir", "-p", "/run/isod/container/apart/run/probe")
    assert "probe" in run(nixos, "apart", "ls", "/run/isoctl")
    nixos.run("rmdir", "/run/isod/container/apart/run/probe")


@pytest.fixture
def conf_of_masked(nixos: Lab) -> Iterator[Path]:
    """What NixOS declares of the container, which a test may change."""
    path = "/etc/nixos-containers/masked.conf"
    with kept(nixos, path):
        yield nixos.host_path(path)


def test_a_new_system_waits_for_a_restart_and_status_says_so(nixos: Lab, conf_of_masked: Path) -> None:
    """I-96: a `nixos-rebuild switch` ends nothing that runs in it, and the user learns that there is something new."""

    def status() -> str:
        return nixos.run("isoctl", "status", "masked", user="alice").stdout

    run(nixos, "masked", "true")
    assert "Outdated" not in status()
    before = conf_of_masked.read_text()
    system = next(line for line in before.splitlines() if line.startswith("SYSTEM_PATH="))
    conf_of_masked.write_text(before.replace(system, "SYSTEM_PATH=/nix/store/0000-next-system"))
    assert "isoctl restart masked" in status()
    run(nixos, "masked", "true")  # goes on as it is
    # As `nixos-container run NAME -- switch-to-configuration` does on a reload of the unit.
    inside(nixos, "masked", "ln", "-sfn", "/nix/store/0000-next-system", "/run/current-system")
    nixos.run("systemctl", "reload", "container@masked", check=False)
    nixos.run("busctl", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
              "org.freedesktop.systemd1.Manager", "SetUnitProperties", "sba(sv)", "container@masked.service", "true",
              "1", "Description", "s", "something changed")  # fmt: skip
    nixos.wait_for(lambda: "Outdated" not in status())
    inside(nixos, "masked", "/lab/usr/bin/ln", "-sfn", system.partition("=")[2].strip('"'), "/run/current-system")


@pytest.mark.parametrize("container", ["apart", "shifted"])
def test_a_share_is_written_only_where_it_says_so(nixos: Lab, container: str) -> None:
    """I-113: with user namespaces too, where a bind belongs to nobody unless owners are mapped."""
    run(nixos, container, "touch", f"/srv/here/{container}")
    assert nixos.run("stat", "-c", "%U", f"/srv/writable/{container}").stdout == "alice\n"
    run(nixos, container, "touch", "/srv/shared/file", code=1)


def test_root_of_one_with_user_namespaces_is_nobody_outside(nixos: Lab) -> None:
    first, second, count = run(nixos, "shifted", "cat", "/proc/self/uid_map").split()
    assert (first, count) == ("0", "65536")
    assert int(second) >= 65536
    assert run(nixos, "shifted", "stat", "-c", "%a %U", "/run/user/1000") == "700 alice\n"


def test_profiles_are_the_users_before_home_managers_unit(nixos: Lab) -> None:
    """I-119, I-120; R7: they are directories of the host, below per-container/NAME."""
    run(nixos, "apart", "true")
    state = inside(nixos, "apart", "systemctl", "is-active", "home-manager-alice.service", check=False)
    assert state.stdout == "active\n"
    for kind in ("profiles", "gcroots"):
        path = f"/nix/var/nix/{kind}/per-container/apart/per-user/alice"
        assert nixos.run("stat", "-c", "%U %a", path).stdout == "alice 755\n"
    link = inside(nixos, "apart", "readlink", "/home/alice/.nix-profile").stdout
    assert link == "/nix/var/nix/profiles/per-user/alice/profile\n"


def test_isods_variables_win_over_stale_ones_of_the_profile(nixos: Lab) -> None:
    pairs = dict(line.split("=", 1) for line in run(nixos, "apart", "env").splitlines() if "=" in line)
    assert pairs["XDG_RUNTIME_DIR"] == "/run/user/1000"
    assert pairs["GREETING"] == "from policy"
    assert "useSystemAAFontSettings" in pairs["_JAVA_OPTIONS"]


# what masks it lies on what it masks
@pytest.mark.attack("C28")
@pytest.mark.breaks("mounts")
def test_the_masked_daemon_socket_is_out_of_reach(nixos: Lab) -> None:
    assert "socket" in run(nixos, "apart", "ls", "/nix/var/nix/daemon-socket")
    assert run(nixos, "masked", "stat", "-c", "%a", "/nix/var/nix/daemon-socket") == "0\n"
    run(nixos, "masked", "ls", "/nix/var/nix/daemon-socket/", code=2)


def test_network_none_is_the_loopback_alone(nixos: Lab) -> None:
    lines = run(nixos, "apart", "cat", "/proc/net/dev").splitlines()[2:]
    assert [line.split(":")[0].strip() for line in lines] == ["lo"]


def test_network_private_is_a_link_to_the_host(nixos: Lab) -> None:
    """With no other way: not the host's loopback, and none of its interfaces."""
    connect = "import socket; socket.create_connection(('{}', 8470), 5)"
    with nixos.popen("python3", "-m", "http.server", "--bind", "0.0.0.0", "8470", stderr=subprocess.DEVNULL) as server:
        nixos.wait_for(lambda: nixos.run("python3", "-c", connect.format("127.0.0.1"), check=False).returncode == 0)
        run(nixos, "routed", "python3", "-c", connect.format("10.233.7.1"))
        assert "ConnectionRefused" in run(nixos, "routed", "python3", "-c", connect.format("127.0.0.1"), code=1)
        server.signal_inner(signal.SIGKILL)
    addresses = run(nixos, "routed", "ip", "-brief", "-4", "address").splitlines()
    assert [line.split()[2] for line in addresses] == ["127.0.0.1/8", "10.233.7.2/32"]


@pytest.mark.attack("C01")
def test_a_link_planted_in_a_directory_of_the_host_ends_in_unsafe_path(nixos: Lab) -> None:
    """S01; the per-user directories of a NixOS container are the host's own."""
    run(nixos, "masked", "true")
    inside(
        nixos, "masked", "sh", "-c", "rm -rf /nix/var/nix/gcroots/per-user; ln -s /etc /nix/var/nix/gcroots/per-user"
    )
    before = nixos.run("stat", "-c", "%u %g %a", "/etc").stdout
    assert "unsafe path" in run(nixos, "masked", "true", code=125)
    assert nixos.run("stat", "-c", "%u %g %a", "/etc").stdout == before
    inside(nixos, "masked", "rm", "/nix/var/nix/gcroots/per-user")
    run(nixos, "masked", "true")


@pytest.mark.attack("C29")
@pytest.mark.parametrize(("planted", "target"), [("root", "/"), ("var/lib/private", "/srv"), ("etc/machine-id", "/x")])
def test_a_link_where_the_start_script_works_keeps_it_from_starting(nixos: Lab, planted: str, target: str) -> None:
    """S29, C29: the script's `chmod 0700 $root/root` would be one of the host's own root directory."""
    run(nixos, "masked", "true")
    inside(nixos, "masked", "sh", "-c", f"rm -rf /{planted}; ln -s {target} /{planted}")
    inside(nixos, "masked", "systemctl", "poweroff")
    state = ("systemctl", "is-active", "container@masked")
    nixos.wait_for(lambda: nixos.run(*state, check=False).stdout in ("inactive\n", "failed\n"), 30)
    before = nixos.run("stat", "-c", "%u %g %a", "/", "/srv").stdout
    path = f"/var/lib/nixos-containers/masked/{planted}"
    try:
        told = run(nixos, "masked", "true", code=125)
        assert f"unsafe path '/{planted}' in container 'masked'" in told
        assert told.count("\n") == 1
        # Whoever starts it: the unit has the same check.
        assert nixos.run("systemctl", "start", "container@masked", check=False).returncode != 0
        assert nixos.run("stat", "-c", "%u %g %a", "/", "/srv").stdout == before
        assert nixos.run("test", "-e", "/x", check=False).returncode == 1
    finally:
        nixos.run("rm", path)
    run(nixos, "masked", "true")


def test_a_switch_reloads_isod_and_apps_go_on(nixos: Lab, evaluated: dict[str, Any]) -> None:
    """The module's ExecReload, in the sandbox of isod's own unit."""
    command = "/usr/bin/" + evaluated["reload"].rpartition("/")[2]
    drop_in = f"[Service]\nExecReload={command}\n"
    nixos.run("mkdir", "-p", "/run/systemd/system/isod.service.d")
    nixos.host_path("/run/systemd/system/isod.service.d/nixos.conf").write_text(drop_in)
    nixos.run("systemctl", "daemon-reload")
    policy = nixos.host_path("/etc/isod/containers/apart.toml")
    policy.write_text(policy.read_text().replace("from policy", "after a switch"))
    nixos.run("systemctl", "reload", "isod")
    assert run(nixos, "apart", "printenv", "GREETING") == "after a switch\n"


def reported(lab: Lab, verb: str, name: str, key: str) -> dict[str, str]:
    """What `doctor` or `exposure` has, by code."""
    done = lab.run("isoctl", verb, "--json", name, user="alice", check=False)
    return {item["code"]: item["what"] for item in json.loads(done.stdout)[key]}


@pytest.mark.parametrize("name", NAMES)
def test_doctor_finds_nothing_wrong_with_what_the_module_made(nixos: Lab, name: str) -> None:
    run(nixos, name, "true")
    assert reported(nixos, "doctor", name, "findings") == {}


def test_exposure_is_what_the_options_say(nixos: Lab) -> None:
    for name in ("apart", "masked", "shifted"):
        run(nixos, name, "true")
    apart, masked, shifted = (reported(nixos, "exposure", name, "exposures") for name in ("apart", "masked", "shifted"))
    # no Nix daemon listens on this host
    assert apart.keys() == {"root-is-root", "mount-writable"}
    assert apart["mount-writable"].startswith("/srv/here can be written")
    assert masked.keys() == {"root-is-root"}
    assert shifted.keys() == {"mount-writable"}
