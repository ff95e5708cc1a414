"""`isoctl run` for real: what arrives inside, what comes back, and what may not enter."""

import hashlib
import json
import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from lab.machine import Lab

ODD_ARGUMENTS = [
    "", " a  b ", "$$", "${HOME}", "%h", "50%H", '"', "'", "\\", "\n", "\t", "trailing\n", ";", "*", "-x", "--", "é✓",
    "`echo XXX`", "A&B", "(echo hello)", "!!",
]  # fmt: skip


def isoctl(lab: Lab, *arguments: str, user: str = "alice", **options: object) -> subprocess.CompletedProcess[str]:
    return lab.run("isoctl", *arguments, user=user, check=False, **options)


def test_a_command_that_is_only_on_the_login_shells_path(lab: Lab) -> None:
    """R2 of the requirements: typed as on the host; the container is started first if it does not run."""
    lab.run("systemctl", "stop", "container@blog")
    done = isoctl(lab, "run", "blog", "idea-community")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("idea-community")


@pytest.mark.parametrize("container", ["blog", "priv", "net", "plain", "nologind", "nixlike", "deb", "Upper.Case-1"])
def test_every_kind_of_container_runs_apps(lab: Lab, container: str) -> None:
    """I-100: a dash in a name is never escaped; user namespaces, veth, no logind and untouched units included."""
    done = isoctl(lab, "run", container, "sh", "-c", 'uname -n; id -un; stat -c "%a %U" $XDG_RUNTIME_DIR')
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [container, "alice", "700", "alice"]
    # and it is the unit that was meant, not another of that name
    assert lab.leader(container)


@pytest.mark.parametrize("code", [0, 1, 7, 125, 126, 127, 200, 203, 255])
def test_exit_codes_are_the_commands_own(lab: Lab, code: int) -> None:
    """I-67, I-74: systemd's own 2xx codes must not be taken for a failure to start."""
    assert isoctl(lab, "run", "blog", "--", "/bin/sh", "-c", f"exit {code}").returncode == code


def test_a_signal_gives_128_and_more(lab: Lab) -> None:
    assert isoctl(lab, "run", "blog", "--", "sh", "-c", "kill -KILL $$").returncode == 137
    assert isoctl(lab, "run", "blog", "--", "sh", "-c", "kill -TERM $$").returncode == 143


def test_not_found_and_not_executable_are_told(lab: Lab) -> None:
    missing = isoctl(lab, "run", "blog", "nosuch")
    assert missing.returncode == 127
    assert "nosuch" in missing.stderr
    directory = isoctl(lab, "run", "blog", "/tmp")
    assert directory.returncode == 126
    assert "/tmp" in directory.stderr


@pytest.mark.attack("C09")
@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "zsh", "fish", "ksh", "nologin"])
def test_arguments_arrive_byte_for_byte_in_every_login_shell(lab: Lab, shell: str) -> None:
    """I-80 to I-87: quoting, expansion and escapes of every shell in between."""
    user = f"acct_{shell}"
    script = "import sys, json; sys.stdout.write(json.dumps(sys.argv[1:]))"
    done = isoctl(lab, "run", "-u", user, "shells", "python3", "-c", script, *ODD_ARGUMENTS, user="root")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ODD_ARGUMENTS


def test_many_and_long_arguments(lab: Lab) -> None:
    script = "import sys; print(len(sys.argv) - 1, sum(map(len, sys.argv[1:])))"
    many = isoctl(lab, "run", "blog", "python3", "-c", script, *(["x"] * 1000))
    assert many.stdout.split() == ["1000", "1000"]
    long = isoctl(lab, "run", "blog", "python3", "-c", script, "y" * 102_400)
    assert long.stdout.split() == ["1", "102400"]


def test_long_arguments_do_not_keep_apps_from_being_listed(lab: Lab) -> None:
    """All that ran of late is in one reply of the bus, whose size is bounded."""
    started = isoctl(lab, "run", "--detach", "blog", "sh", "-c", "sleep 4716", *["z" * 60_000] * 2).stdout.strip()
    for _ in range(3):
        isoctl(lab, "run", "blog", "true", "y" * 102_400)
    listed = isoctl(lab, "ps", "--json")
    assert (listed.returncode, listed.stderr) == (0, "")
    (app,) = [app for app in json.loads(listed.stdout) if app["id"] == started]
    assert app["command"][:3] == ["sh", "-c", "sleep 4716"]
    assert app["command"][3].startswith("zzz")
    assert len(json.dumps(app)) < 2000
    # in full it is a property of the app itself
    path = f"/org/isoctl1/app/{started}"
    whole = lab.run("busctl", "get-property", "org.isoctl1", path, "org.isoctl1.App", "Command", user="alice").stdout
    assert whole.count("z") == 120_000
    assert isoctl(lab, "kill", started).returncode == 0


def test_bad_arguments_are_named_by_position(lab: Lab) -> None:
    latin1 = lab.popen("isoctl", "run", "blog", "echo", os.fsdecode(b"\xe9"), user="alice", stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE)  # fmt: skip
    _, stderr = latin1.communicate(timeout=20)
    assert latin1.returncode in (2, 125)
    assert b"1" in stderr
    assert b"UTF-8" in stderr


def test_streams_are_the_callers_own(lab: Lab) -> None:
    """I-69, I-70: nothing of stdin is lost, and stdout and stderr stay apart."""
    sort = lab.run("sh", "-c", "seq 100000 | isoctl run blog -- sort -n | tail -1", user="alice")
    assert sort.stdout == "100000\n"
    apart = isoctl(lab, "run", "blog", "--", "sh", "-c", "echo out; echo err >&2")
    assert (apart.stdout, apart.stderr) == ("out\n", "err\n")


def test_64_mib_unchanged_by_pipe_and_by_file(lab: Lab) -> None:
    data = os.urandom(64 * 1024 * 1024)
    digest = hashlib.sha256(data).hexdigest()
    by_pipe = lab.run("isoctl", "run", "blog", "cat", user="alice", stdin=data, raw=True, timeout_sec=60)
    assert hashlib.sha256(by_pipe.stdout).hexdigest() == digest
    source = Path(lab.host_path("/home/alice/random"))
    source.write_bytes(data)
    lab.run("sh", "-c", "isoctl run blog cat < ~/random > ~/copy", user="alice")
    assert hashlib.sha256(Path(lab.host_path("/home/alice/copy")).read_bytes()).hexdigest() == digest


def test_a_reader_that_leaves_ends_the_app(lab: Lab) -> None:
    lab.run("timeout", "20", "sh", "-c", "isoctl run blog yes | head -1", user="alice")


@pytest.mark.attack("C12")
@pytest.mark.parametrize(
    ("source", "code"), [("< ~/secret", 0), ("< ~", 125), ("<&-", 0), ("< /dev/zero", 0), ("<> ~/secret", 0)]
)
def test_no_way_from_stdin_to_the_hosts_files(lab: Lab, source: str, code: int) -> None:
    """CVE-2024-21626 and our own measurement: a file or directory that an app is given could be reopened."""
    lab.run("sh", "-c", "echo untouched > ~/secret; mkdir -p ~/only-on-the-host", user="alice")
    # A pipe that is full takes nothing more: whoever writes to his own stdin must not wait.
    script = (
        'timeout 1 sh -c "echo overwritten > /proc/self/fd/0"; '
        "ls -a /proc/self/fd/0/ /proc/self/fd/0/.. /proc/self/fd/0/../..; echo RAN"
    )
    done = lab.run(
        "timeout", "20", "sh", "-c", f"isoctl run blog -- sh -c '{script}' {source}", user="alice", check=False
    )
    assert done.returncode == code, done.stderr
    # Only what is no directory starts anything; the rest is refused in a sentence.
    assert done.stdout == ("RAN\n" if code == 0 else "")
    assert code == 0 or "directory" in done.stderr
    assert "only-on-the-host" not in done.stdout + done.stderr
    assert lab.run("cat", "/home/alice/secret").stdout == "untouched\n"


def test_a_socket_as_stdin_and_stdout(lab: Lab) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        process = lab.popen("isoctl", "run", "blog", "cat", user="alice", stdin=theirs.fileno(), stdout=theirs.fileno())
        theirs.close()
        ours.sendall(b"ping")
        ours.shutdown(socket.SHUT_WR)
        ours.settimeout(20)
        assert ours.recv(100) == b"ping"
        assert process.wait(20) == 0


def test_a_program_that_forks_and_leaves_lives_on(lab: Lab) -> None:
    """An editor's launcher: its code is told at once, what it left is shown and can be ended."""
    # The container's PID 1 holds the app's pipes while any process of it lives, so nobody here reads one.
    script = "isoctl run blog -- sh -c 'sleep 4711 >/dev/null 2>&1 & exit 5' >~/out 2>&1 </dev/null"
    done = lab.run("sh", "-c", script, user="alice", check=False, timeout_sec=15)
    assert done.returncode == 5
    assert lab.in_container("blog", "pgrep", "-f", "sleep 4711", check=False).returncode == 0
    listed = json.loads(isoctl(lab, "ps", "--json").stdout)
    (left,) = [app for app in listed if "sleep 4711" in json.dumps(app)]
    app_id = left.get("id") or left["Id"]
    assert isoctl(lab, "kill", app_id).returncode == 0
    lab.wait_for(lambda: lab.in_container("blog", "pgrep", "-f", "sleep 4711", check=False).returncode != 0)


def test_kill_9_of_isoctl_ends_the_app(lab: Lab) -> None:
    """I-77: closing the terminal must not leave the command running."""
    process = lab.popen("isoctl", "run", "blog", "sleep", "4712", user="alice", stdin=subprocess.DEVNULL)
    lab.wait_for(lambda: lab.in_container("blog", "pgrep", "-f", "sleep 4712", check=False).returncode == 0)
    lab.run("pkill", "-KILL", "-f", "isoctl run blog sleep 4712")
    process.wait(5)
    lab.wait_for(lambda: lab.in_container("blog", "pgrep", "-f", "sleep 4712", check=False).returncode != 0, 2.0)


def test_detached_apps_live_on_and_are_found(lab: Lab) -> None:
    started = isoctl(lab, "run", "--detach", "blog", "--", "sh", "-c", "echo logged-line; sleep 4713")
    assert started.returncode == 0
    listed = json.loads(isoctl(lab, "ps", "--json").stdout)
    (app,) = [app for app in listed if "sleep 4713" in json.dumps(app)]
    app_id = app.get("id") or app["Id"]
    lab.wait_for(lambda: "logged-line" in isoctl(lab, "logs", app_id).stdout)
    assert isoctl(lab, "kill", "-s", "KILL", app_id).returncode == 0


@pytest.mark.parametrize("container", ["blog", "priv"])
def test_the_log_of_a_container_is_what_apps_wrote(lab: Lab, container: str) -> None:
    """N27: ten lines of systemd about its units (Starting, Started, Deactivated), and none of an app."""
    script = "echo by-stdout; echo by-stderr >&2; logger by-syslog; exec sleep 4714"
    started = isoctl(lab, "run", "--detach", container, "--", "sh", "-c", script)
    app_id = started.stdout.strip()
    lab.wait_for(lambda: "by-syslog" in isoctl(lab, "logs", "-n", "20", container).stdout)
    assert isoctl(lab, "run", container, "echo", "by-stream").returncode == 0
    isoctl(lab, "kill", app_id)
    shown = isoctl(lab, "logs", container).stdout
    assert all(text in shown for text in ("by-stdout", "by-stderr", "by-syslog"))
    assert "by-stream" not in shown
    assert " systemd[1]: " not in shown
    assert " systemd[1]: " in lab.run("isoctl", "logs", container).stdout  # root's is the whole journal


def test_fifty_at_once_on_a_stopped_container_share_one_start(lab: Lab) -> None:
    """I-91, R05: one start job, all succeed."""
    lab.run("systemctl", "stop", "container@blog")
    before = len(lab.journal(unit="isod.service", ISOCTL_KIND="container-start"))
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(isoctl(lab, "run", "blog", "true", timeout_sec=90).returncode))
        for _ in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0] * 50
    assert len(lab.journal(unit="isod.service", ISOCTL_KIND="container-start")) == before + 1


def test_environment_order_and_names(lab: Lab) -> None:
    """I-7 to I-13: values with every odd character; what is isod's own cannot be set."""
    odd = 'this won`t $work \\ "x" {"foo":1}\nsecond line'
    done = isoctl(lab, "run", "-e", f"ODD={odd}", "-e", "_JAVA_OPTIONS=-Dx=y", "blog", "env", "-0")
    pairs = dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)
    assert pairs["ODD"] == odd
    assert pairs["_JAVA_OPTIONS"] == "-Dx=y"
    assert pairs["XDG_RUNTIME_DIR"] == "/run/user/1000"
    assert not [name for name in pairs if name.startswith("_ISOCTL")]


def test_restarting_isod_changes_nothing_for_a_waiting_isoctl(lab: Lab) -> None:
    """R01: the exit code of an app that ends during the restart still arrives."""
    for how in (["systemctl", "restart", "isod"], ["systemctl", "kill", "-s", "KILL", "isod"]):
        process = lab.popen("isoctl", "run", "blog", "--", "sh", "-c", "sleep 2; exit 7", user="alice",
                            stdin=subprocess.DEVNULL)  # fmt: skip
        lab.wait_for(lambda: lab.in_container("blog", "pgrep", "-f", "sleep 2; exit 7", check=False).returncode == 0)
        lab.run(*how)
        assert process.wait(30) == 7


@pytest.mark.attack("C22")
def test_a_container_without_a_bus_and_one_that_hangs_are_told(lab: Lab) -> None:
    """I-88, I-89."""
    for container in ("never", "hang"):
        done = isoctl(lab, "run", container, "true", timeout_sec=30)
        assert done.returncode == 125
        assert "not ready after 4 s" in done.stderr


@pytest.mark.attack("C01")
def test_a_symlink_in_the_way_ends_in_unsafe_path(lab: Lab) -> None:
    """S01: snapd CVE-2021-44731, flatpak GHSA-8688-9x26-hhxj; the host must not be chowned through a container."""
    isoctl(lab, "run", "evil", "true")
    lab.in_container("evil", "sh", "-c", "mkdir -p /nix/var/nix/profiles /nix/var/nix/gcroots; "
                     "ln -sfn /etc /nix/var/nix/profiles/per-user")  # fmt: skip
    before = lab.run("stat", "-c", "%u %g %a", "/etc").stdout
    done = isoctl(lab, "run", "evil", "true")
    assert done.returncode == 125
    assert "unsafe path" in done.stderr
    assert lab.run("stat", "-c", "%u %g %a", "/etc").stdout == before
    lab.in_container("evil", "rm", "-r", "/nix")
    assert isoctl(lab, "run", "evil", "true").returncode == 0


def test_the_hosts_runtime_directory_survives(lab: Lab) -> None:
    """I-24: binding it the manual way emptied it on the host at the last logout inside."""
    isoctl(lab, "run", "blog", "true")
    for _ in range(20):
        lab.in_container("blog", "loginctl", "terminate-user", "alice", check=False)
        assert isoctl(lab, "run", "blog", "true").returncode == 0
    lab.run("systemctl", "stop", "container@blog")
    assert lab.run("test", "-S", "/run/user/1000/bus", check=False).returncode == 0


@pytest.mark.attack("C11")
def test_a_terminal_of_the_containers_own(lab: Lab) -> None:
    """CVE-2017-5226: the outer terminal never enters; its settings are the same afterwards."""
    script = (
        "stty -a > ~/before; isoctl run blog tty; isoctl run blog stty size; "
        "isoctl run blog -- sh -c 'trap \"echo GOT-INT; exit 9\" INT; echo READY; while :; do sleep 0.1; done'; "
        "echo code=$?; "
        "stty -a > ~/after; cmp ~/before ~/after && echo EQUAL"
    )
    with lab.pty("bash", "--norc", "-c", script, user="alice", rows=33, columns=99) as terminal:
        assert b"/dev/pts/" in terminal.read_until("33 99")
        terminal.read_until("READY")
        terminal.send(b"\x03")
        output = terminal.read_until("EQUAL")
    assert b"GOT-INT" in output
    assert b"code=9" in output
