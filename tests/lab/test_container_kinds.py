"""Containers of every kind: other units, user namespaces, no bus, no logind, slow ones, ones that never come up."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from isod_contract import names
from lab.machine import Lab
from lab.policies import added_policy

BOOTED_KINDS = ["blog", "priv", "privchown", "net", "plain", "nologind", "deb"]


def isoctl(lab: Lab, *arguments: str, user: str = "alice", **options: object) -> subprocess.CompletedProcess[str]:
    return lab.run("isoctl", *arguments, user=user, check=False, **options)


def state(lab: Lab, container: str) -> str:
    return lab.run("systemctl", "show", "-P", "ActiveState", lab.unit(container)).stdout.strip()


def job(lab: Lab, container: str) -> str:
    return lab.run("systemctl", "show", "-P", "Job", lab.unit(container)).stdout.strip()


def problem(lab: Lab, container: str, user: str) -> tuple[str, str]:
    done = lab.run("busctl", "get-property", "-j", names.BUS_NAME, names.container_path(container), names.CONTAINER,
                   "Problem", user=user)  # fmt: skip
    name, text = json.loads(done.stdout)["data"]
    return name, text


@pytest.mark.parametrize("container", BOOTED_KINDS)
def test_streams_and_codes_in_every_kind(lab: Lab, container: str) -> None:
    """With user namespacing the app is another uid than whoever made its pipes, and reopens them all the same."""
    app = "cat > /dev/stdout; echo err > /dev/stderr; exit 7"
    script = f"(echo in | isoctl run {container} -- sh -c '{app}'; echo $? >&3) 3>&1 2>&1 | cat"
    done = lab.run("sh", "-c", script, user="alice")
    assert done.stdout == "in\nerr\n7\n"


@pytest.mark.parametrize("container", BOOTED_KINDS)
def test_a_terminal_in_every_kind(lab: Lab, container: str) -> None:
    with lab.pty("isoctl", "run", container, "--", "sh", "-c", "tty; stty size; read word; echo GOT:$word; exit 5",
                 user="alice", rows=31, columns=77) as terminal:  # fmt: skip
        assert b"/dev/pts/" in terminal.read_until("31 77", 30)
        terminal.send("typed\n")
        terminal.read_until("GOT:typed")
        assert terminal.wait() == 5


@pytest.mark.parametrize("container", ["priv", "deb", "nologind"])
def test_an_exit_code_survives_isod_in_every_kind(lab: Lab, container: str) -> None:
    isoctl(lab, "run", container, "true")
    process = lab.popen("isoctl", "run", container, "--", "sh", "-c", "sleep 3; exit 9", user="alice")
    lab.wait_for(lambda: lab.in_container(container, "pgrep", "-f", "exit 9", check=False).returncode == 0)
    lab.run("systemctl", "kill", "-s", "KILL", "isod")
    assert process.wait(30) == 9


@pytest.mark.parametrize("container", ["priv", "privchown", "deb"])
def test_with_user_namespacing_root_inside_is_not_the_hosts(lab: Lab, container: str) -> None:
    done = isoctl(lab, "run", "--no-login-shell", f"root@{container}", "cat", "/proc/self/uid_map", user="root")
    assert done.returncode == 0, done.stderr
    inside, outside, count = (int(word) for word in done.stdout.split())
    assert (inside, count) == (0, 65536)
    assert outside >= 65536


def test_a_container_without_a_bus_is_told_at_once_and_what_to_install(lab: Lab) -> None:
    """I-88: its boot is over, so there is nothing to wait 90 s for."""
    lab.stop_container("nodbus")
    for arguments, code in (
        (("run", "nodbus", "true"), 125),
        (("run", "nodbus", "true"), 125),
        (("start", "nodbus"), 1),
    ):
        done = isoctl(lab, *arguments, timeout_sec=30)
        assert done.returncode == code
        assert done.stderr.count("\n") == 1
        assert "install dbus" in done.stderr
        assert "'nodbus'" in done.stderr
    lab.in_container("nodbus", "systemctl", "unmask", "dbus.socket", "dbus.service")
    lab.stop_container("nodbus")
    try:
        assert isoctl(lab, "run", "nodbus", "true").stderr == ""
    finally:
        lab.in_container("nodbus", "systemctl", "mask", "dbus.socket", "dbus.service")
        lab.stop_container("nodbus")


def test_a_stock_unit_that_runs_is_found_without_being_named(lab: Lab) -> None:
    """Debian's way to have a container is systemd-nspawn@NAME; isod's own container@ must not start a second one."""
    lab.stop_container("deb")
    try:
        lab.run("sed", "-i", "/^unit/d", "/etc/isod/containers/deb.toml")
        lab.run("isoctl", "reload")
        lab.start("deb")
        assert isoctl(lab, "run", "deb", "true").stderr == ""
        shown = json.loads(isoctl(lab, "status", "--json", "deb").stdout)
        assert "systemd-nspawn@deb.service" in json.dumps(shown)
        assert lab.run("systemctl", "show", "-P", "ActiveState", "container@deb").stdout == "inactive\n"
    finally:
        lab.run("sh", "-c", "echo 'unit = \"systemd-nspawn@deb.service\"' >> /etc/isod/containers/deb.toml")
        lab.run("isoctl", "reload")


def test_a_slow_start_is_shown_on_a_terminal_and_succeeds(lab: Lab) -> None:
    lab.stop_container("slow")
    with lab.pty("isoctl", "run", "slow", "--", "echo", "CAME-UP", user="alice") as terminal:
        terminal.read_until("starting container slow", 30)
        shown = terminal.read_until("CAME-UP", 60)
        assert b"\r\x1b[K" in shown
        assert terminal.wait() == 0


def test_a_slow_start_is_not_shown_where_no_terminal_is(lab: Lab) -> None:
    lab.stop_container("slow")
    done = isoctl(lab, "run", "slow", "echo", "hi")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hi\n", "")


def test_a_start_that_takes_too_long_goes_on_and_the_next_launch_uses_it(lab: Lab) -> None:
    lab.stop_container("slow")
    with added_policy(lab, "slow", "start_timeout_sec = 2"):
        done = isoctl(lab, "run", "slow", "true")
        assert done.returncode == 125
        assert "not ready after 2 s" in done.stderr
        assert state(lab, "slow") == "activating"
    before = len(lab.journal(unit="isod.service", ISOCTL_KIND="container-start"))
    lab.wait_for(lambda: state(lab, "slow") == "active", 30)
    assert isoctl(lab, "run", "slow", "true").returncode == 0
    assert len(lab.journal(unit="isod.service", ISOCTL_KIND="container-start")) == before


def test_a_container_that_never_comes_up_is_told_and_left_to_systemd(lab: Lab) -> None:
    """I-89: nobody stops what may still come up."""
    lab.stop_container("hang")
    done = isoctl(lab, "run", "hang", "true")
    assert done.returncode == 125
    assert "not ready after 4 s" in done.stderr, problem(lab, "hang", "root")
    assert "systemctl status container@hang.service" in done.stderr
    assert problem(lab, "hang", "alice")[0].endswith(".StartTimeout")
    assert state(lab, "hang") == "activating"
    assert int(job(lab, "hang").split()[0] or "0") > 0
    lab.stop_container("hang")


FAILING = """[Service]
Type=exec
ExecStart=/bin/sh -c 'echo "SECRET of the host" >&2; printf "\\033[31mRED\\n"; sleep 0.3; exit 3'
RemainAfterExit=no
"""
FAILING_NOTIFY = FAILING.replace("Type=exec", "Type=notify")


@pytest.fixture
def broken(lab: Lab) -> Iterator[str]:
    """A container whose unit fails."""
    unit = lab.host_path("/etc/systemd/system/broken-container.service")
    policy = lab.host_path("/etc/isod/containers/broken.toml")
    unit.write_text(FAILING_NOTIFY)
    policy.write_text('users = ["alice"]\nunit = "broken-container.service"\n')
    lab.run("systemctl", "daemon-reload")
    lab.run("isoctl", "reload")
    yield "broken"
    policy.unlink()
    unit.unlink()
    lab.run("systemctl", "daemon-reload")
    lab.run("isoctl", "reload")


@pytest.mark.attack("C30")
def test_why_a_unit_failed_is_quoted_to_root_alone(lab: Lab, broken: str) -> None:
    """The journal is not alice's to read: a unit's lines can hold anything of the host."""
    done = isoctl(lab, "run", broken, "true")
    assert done.returncode == 125
    assert "start failed" in done.stderr
    assert "broken-container.service" in done.stderr
    assert "SECRET" not in done.stderr
    assert "SECRET" not in "".join(problem(lab, broken, "alice"))
    assert "SECRET" not in isoctl(lab, "status", "--json", broken).stdout
    assert "SECRET" in problem(lab, broken, "root")[1]
    for_root = isoctl(lab, "run", broken, "true", user="root").stderr
    assert "SECRET of the host" in for_root
    assert "RED" in for_root
    assert "\x1b" not in for_root
    assert for_root.count("\n") == 1
    assert isoctl(lab, "start", broken, user="root").stderr.count("SECRET") == 1
    assert "SECRET" not in isoctl(lab, "history", "--json").stdout
