"""What policy and flags put around a command: wrappers, working directory, environment and its order."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from lab.containers import SHELLS
from lab.machine import Lab
from lab.policies import added_policy

ODD_ARGUMENTS = [
    "", " a  b ", "$$", "${HOME}", "%h", "50%H", '"', "'", "\\", "\n", "\t", "trailing\n", ";", "*", "-x", "--", "é✓",
    "`echo XXX`", "A&B", "(echo hello)", "!!", "~", "#", "{a,b}", "\\'", "$'x'", "''", "a'b\"c$d`e\\f\ng",
]  # fmt: skip
TELL_ARGUMENTS = "import sys, json; sys.stdout.write(json.dumps(sys.argv[1:]))"
# As NixOS's buildFHSEnv programs: everything after, or one string for a shell.
ENTER = """#!/bin/sh
case $1 in
    --) shift; exec env INSIDE_FHS=arguments "$@" ;;
    -c) exec env INSIDE_FHS=string /bin/bash -c "$2" ;;
esac
exit 99
"""


def isoctl(lab: Lab, *arguments: str, user: str = "alice", **options: object) -> subprocess.CompletedProcess[str]:
    return lab.run("isoctl", *arguments, user=user, check=False, **options)


def variables(lab: Lab, *flags: str, env: dict[str, str] | None = None) -> dict[str, str]:
    done = isoctl(lab, "run", *flags, "blog", "env", "-0", env=env)
    assert done.returncode == 0, done.stderr
    return dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)


@pytest.fixture
def enter_fhs(lab: Lab) -> Iterator[None]:
    lab.start("blog")
    lab.in_container("blog", "sh", "-c", "mkdir -p /opt/fhs; cat > /opt/fhs/enter-fhs; chmod 755 /opt/fhs/enter-fhs",
                     stdin=ENTER.encode())  # fmt: skip
    # Found by the login profile alone, as a command that is installed inside is.
    lab.in_container("blog", "sh", "-c", "cat > /etc/profile.d/fhs.sh", stdin=b'PATH="$PATH:/opt/fhs"\n')
    yield
    lab.in_container("blog", "rm", "-r", "/opt/fhs", "/etc/profile.d/fhs.sh")


@pytest.mark.parametrize(
    ("line", "way"),
    [('wrapper = ["enter-fhs", "--"]', "arguments"), ('wrapper_shell = ["enter-fhs", "-c"]', "string")],
)
def test_a_wrapper_gets_the_command_byte_for_byte(lab: Lab, enter_fhs: None, line: str, way: str) -> None:
    with added_policy(lab, "blog", line):
        done = isoctl(lab, "run", "blog", "python3", "-c", TELL_ARGUMENTS, *ODD_ARGUMENTS)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == ODD_ARGUMENTS
        assert isoctl(lab, "run", "blog", "printenv", "INSIDE_FHS").stdout == f"{way}\n"
        assert isoctl(lab, "run", "blog", "--", "sh", "-c", "exit 7").returncode == 7
        assert isoctl(lab, "run", "blog", "nosuch").returncode == 127
        # Without the login shell it is not on the PATH.
        done = isoctl(lab, "run", "--no-login-shell", "blog", "true")
        assert done.returncode == 127
        assert "enter-fhs" in done.stderr
    assert isoctl(lab, "run", "blog", "printenv", "INSIDE_FHS").stdout == ""


def test_the_working_directory_is_the_home_or_the_one_asked_for(lab: Lab) -> None:
    lab.start("blog")
    odd = "/home/alice/odd %h $HOME\t'dir'"
    lab.in_container("blog", "mkdir", "-p", odd, user="alice")
    assert isoctl(lab, "run", "blog", "pwd", cwd="/tmp").stdout == "/home/alice\n"
    for asked, expected in (("/etc", "/etc"), ("~", "/home/alice"), (odd, odd), (f"~/{odd[12:]}", odd), ("/", "/")):
        done = isoctl(lab, "run", "-w", asked, "blog", "pwd")
        assert (done.stdout, done.stderr) == (f"{expected}\n", "")


@pytest.mark.parametrize(
    "asked", ["/nosuch", "~/nosuch", "/root", "/etc/passwd", "relative", "/tmp/../etc", "~bob", ""]
)
def test_a_directory_that_cannot_be_had_is_named(lab: Lab, asked: str) -> None:
    done = isoctl(lab, "run", "-w", asked, "blog", "true")
    assert done.returncode in (2, 125)
    assert done.stderr.startswith("isoctl: ")
    assert "directory" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_variable_is_given_or_taken_from_the_caller(lab: Lab) -> None:
    env = {"TAKEN": "from the\ncaller", "LEFT": "alone", "EMPTY": ""}
    got = variables(lab, "-e", "GIVEN=a=b", "-e", "TAKEN", "-e", "EMPTY", "-e", "NOTHING=", env=env)
    assert (got["GIVEN"], got["TAKEN"], got["EMPTY"], got["NOTHING"]) == ("a=b", "from the\ncaller", "", "")
    assert "LEFT" not in got
    done = isoctl(lab, "run", "-e", "NOT_SET", "blog", "true")
    assert done.returncode == 2
    assert "NOT_SET" in done.stderr


@pytest.mark.parametrize("login", ["--login-shell", "--no-login-shell"])
def test_the_later_of_two_sources_wins(lab: Lab, login: str) -> None:
    """ADR 0007: login profile, live session, hints, policy, --env."""
    lab.start("blog")
    profile = (
        b"for name in LC_MONETARY LC_TIME LC_ADDRESS LC_NUMERIC LC_PAPER TZ EDITOR; do export $name=profile; done\n"
    )
    lab.in_container("blog", "sh", "-c", "cat > /etc/profile.d/order.sh", stdin=profile)
    # locales that every container has, since others are left out
    session = ("LC_TIME=POSIX", "LC_ADDRESS=POSIX", "LC_NUMERIC=POSIX", "TZ=session")
    lab.run("systemctl", "--user", "set-environment", *session, user="alice")
    hints = {"LC_MONETARY": "C", "LC_ADDRESS": "C", "LC_NUMERIC": "C", "LC_PAPER": "xx_XX.UTF-8", "TZ": "hint"}
    try:
        lab.run("systemctl", "--user", "restart", "isod-session", user="alice")
        with added_policy(lab, "blog", "[environment]", 'LC_NUMERIC = "policy"', 'TZ = "policy"', 'KIND = "policy"'):
            got = variables(lab, login, "-e", "TZ=asked", env=hints)
        from_profile = "profile" if login == "--login-shell" else None
        assert (got.get("EDITOR"), got.get("LC_PAPER")) == (from_profile, from_profile)
        told = [got[name] for name in ("LC_MONETARY", "LC_TIME", "LC_ADDRESS", "LC_NUMERIC", "TZ", "KIND")]
        assert told == ["C", "POSIX", "C", "policy", "asked", "policy"]
    finally:
        names = [entry.partition("=")[0] for entry in session]
        lab.run("systemctl", "--user", "unset-environment", *names, user="alice")
        lab.run("systemctl", "--user", "restart", "isod-session", user="alice")
        lab.in_container("blog", "rm", "/etc/profile.d/order.sh")


@pytest.mark.attack("C08")
def test_bad_hints_are_dropped_and_nothing_else_of_the_caller_arrives(lab: Lab) -> None:
    """C08 of the security notes, flatpak CVE-2021-21261: the caller's environment reaches nothing by itself."""
    env = {
        "LC_ALL": "x\ny", "LC_TIME": "x" * 2000, "NO_COLOR": "1", "LD_PRELOAD": "/evil.so", "SECRET_TOKEN": "s",
        "DISPLAY": ":77", "WAYLAND_DISPLAY": "wayland-77", "PYTHONPATH": "/x", "LANGUAGE": "de\x1b[31m",
    }  # fmt: skip
    got = variables(lab, env=env)
    assert got["NO_COLOR"] == "1"
    assert not {"LC_TIME", "LD_PRELOAD", "SECRET_TOKEN", "PYTHONPATH", "LANGUAGE"} & got.keys()
    assert got.get("LC_ALL") != "x\ny"
    assert ":77" not in got.values()
    assert "wayland-77" not in got.values()


@pytest.mark.attack("C08")
@pytest.mark.parametrize(
    "entry", ["XDG_RUNTIME_DIR=/evil", "DBUS_SESSION_BUS_ADDRESS=unix:path=/evil", "_ISOCTL_0=evil", "DISPLAY=:0"]
)
def test_what_is_isods_alone_is_refused_by_name(lab: Lab, entry: str) -> None:
    with added_policy(lab, "blog", "[grants]", 'x11 = "none"'):
        done = isoctl(lab, "run", "-e", entry, "blog", "true")
    assert done.returncode == 125
    assert entry.partition("=")[0] in done.stderr


@pytest.mark.attack("C08")
@pytest.mark.parametrize("entry", ["A-B=1", "1A=1", "=1", "A B=1", "é=1"])
def test_a_bad_name_of_a_variable_is_refused(lab: Lab, entry: str) -> None:
    done = isoctl(lab, "run", "-e", entry, "blog", "true")
    assert done.returncode in (2, 125)
    assert done.stderr.startswith("isoctl: ")


@pytest.mark.parametrize("shell", [name for name in SHELLS if name != "nologin"])
@pytest.mark.parametrize("login", ["--login-shell", "--no-login-shell"])
def test_a_program_that_the_container_lacks_is_told_with_a_way_out(lab: Lab, shell: str, login: str) -> None:
    """N11: "bash: line 1: exec: foot: not found" of a program that is on the host."""
    done = lab.run("isoctl", "run", login, f"acct_{shell}@shells", "nosuch", "x", check=False)
    assert done.returncode == 127
    assert done.stderr == (
        "isoctl: container shells has no program 'nosuch'; install it there: "
        "sudo isoctl run shells apt-get install PACKAGE\n"
    )
    done = lab.run("isoctl", "run", login, f"acct_{shell}@shells", "ls -l", check=False)
    assert done.stderr.startswith(
        "isoctl: container shells has no program 'ls -l'; a line of a shell is run by a shell: "
    )
