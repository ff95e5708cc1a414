"""How an app is started: its command through real shells, its environment, and where its accounts lead."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isod.core import command, host_users
from isod.core.environment import assemble
from isod.ports import Account

SHELLS = [path for name in ("sh", "bash", "dash", "zsh", "ksh", "fish") if (path := shutil.which(name))]
# Writes what it was started with, NUL after each.
SHOW = 'printf "%s\\0" "$@"'
AWKWARD = [
    "",
    " a  b ",
    "$$",
    "${HOME}",
    "%h",
    "50%H",
    '"',
    "'",
    "\\",
    "\n",
    "\t",
    "x\n",
    ";",
    "*",
    "-",
    "--",
    "-c",
    "é",
]


def account(shell: str) -> Account:
    return Account("alice", 1000, 1000, "/home/alice", shell)


ACCOUNT = Account("alice", 1000, 1000, "/home/alice", "/bin/bash")


def run(start: command.Start, home: Path, **inherited: str) -> subprocess.CompletedProcess[bytes]:
    environment = {"HOME": str(home), "PATH": os.defpath, **inherited, **start.environment}
    return subprocess.run(start.argv, executable=start.path, env=environment, capture_output=True, check=False)


@pytest.mark.parametrize("shell", SHELLS)
def test_arguments_arrive_as_they_are_in_every_login_shell(shell: str, tmp_path: Path) -> None:
    done = run(command.login(["sh", "-c", SHOW, "sh", *AWKWARD], {}, account(shell)), tmp_path)
    assert done.stdout.decode().split("\0")[:-1] == AWKWARD, done.stderr


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1, max_size=8))
@settings(max_examples=25, deadline=None)
def test_arguments_arrive_as_they_are_without_a_login_shell(arguments: list[str]) -> None:
    done = run(command.plain(["sh", "-c", SHOW, "sh", *arguments], {}, ACCOUNT), Path("/"))
    assert done.stdout.decode().split("\0")[:-1] == arguments


@pytest.mark.attack("C27")
@pytest.mark.parametrize("shell", SHELLS)
def test_a_profile_changes_nothing_that_isod_set_and_no_value_is_in_an_argument(shell: str, tmp_path: Path) -> None:
    for name in (".profile", ".bash_profile", ".zprofile"):
        (tmp_path / name).write_text("export TOKEN=theirs ONLY=profile XDG_RUNTIME_DIR=/elsewhere\n")
    fish = tmp_path / ".config/fish/config.fish"
    fish.parent.mkdir(parents=True)
    fish.write_text("set -gx TOKEN theirs; set -gx ONLY profile; set -gx XDG_RUNTIME_DIR /elsewhere\n")
    values = {"TOKEN": "hunter2 $x 'y'\nz", "XDG_RUNTIME_DIR": "/run/user/1000"}
    start = command.login(["env", "-0"], values, account(shell))
    assert "hunter2" not in " ".join(start.argv)
    done = run(start, tmp_path)
    found = dict(entry.split("=", 1) for entry in done.stdout.decode().split("\0")[:-1])
    assert {name: found[name] for name in values} == values
    assert found["ONLY"] == "profile"
    assert not [name for name in found if name.startswith("_ISOCTL")]


@pytest.mark.parametrize("name", ["nosuch", "-nosuch"])
@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_not_there_gives_127_and_a_sentence(shell: str, name: str, tmp_path: Path) -> None:
    for start in (command.login([name], {}, account(shell)), command.plain([name], {}, ACCOUNT)):
        done = run(start, tmp_path)
        assert (done.returncode, b"nosuch" in done.stderr) == (127, True), done.stderr


WAYS_OUT = {
    "nosuch": "install it there",
    "ls -l": "a line of a shell is run by a shell: isoctl run blog sh -c '...'",
    "alias": "a line of a shell is run by a shell: isoctl run blog sh -c '...'",
    "LANG=C": "variables are set before the name: isoctl run -e NAME=VALUE blog ...",
    "-it": "flags of isoctl stand before the name: isoctl run -t blog ...",
    "it's %s": "a line of a shell is run by a shell: isoctl run blog sh -c '...'",
}


@pytest.mark.parametrize("name", WAYS_OUT)
@pytest.mark.parametrize("shell", SHELLS)
def test_a_program_that_is_not_there_is_told_with_a_way_out(shell: str, name: str, tmp_path: Path) -> None:
    """N11: `bash: line 1: exec: foot: not found` named neither the container nor what to do."""
    starts = (
        command.login([name, "x"], {}, account(shell), "", "blog"),
        command.plain([name, "x"], {}, ACCOUNT, "", "blog"),
        command.plain(command.on_terminal([name], "/dev/null", "blog"), {}, ACCOUNT, "", "blog"),
    )
    for start in starts:
        done = run(start, tmp_path)
        assert done.returncode == 127
        first, _, way_out = done.stderr.decode().partition("; ")
        assert first == f"isoctl: container blog has no program '{name}'"
        assert way_out.startswith(WAYS_OUT[name])
        assert (way_out.count("\n"), way_out[-1]) == (1, "\n")


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_there_starts_as_before_though_a_shell_knows_it_too(shell: str, tmp_path: Path) -> None:
    """N11: `echo` and `[` are built into shells; a path is not looked for."""
    for argv, code in ((["echo", "x"], 0), (["[", "x", "]"], 0), (["/bin/echo", "x"], 0), (["/etc/passwd"], 126)):
        for start in (
            command.login(argv, {}, account(shell), "", "blog"),
            command.plain(argv, {}, ACCOUNT, "", "blog"),
        ):
            assert run(start, tmp_path).returncode == code


@pytest.mark.parametrize("shell", SHELLS)
def test_fallbacks_stand_in_for_what_nothing_inside_sets_and_what_is_unset_is_gone(shell: str, tmp_path: Path) -> None:
    """R-45, R-16, R-10: a profile may choose its own zone; policy may take anything away."""
    for name in (".profile", ".bash_profile", ".zprofile"):
        (tmp_path / name).write_text("export TZ=profile GONE=profile\n")
    fish = tmp_path / ".config/fish/config.fish"
    fish.parent.mkdir(parents=True)
    fish.write_text("set -gx TZ profile; set -gx GONE profile\n")
    given: Any = {"fallbacks": {"TZ": "host", "LANG": "C.UTF-8"}, "unset": ["GONE", "ALSO"]}
    script = 'echo "$TZ $LANG ${GONE-none} ${ALSO-none} $OWN"; env | grep -c _ISOCTL'
    for start, zone in (
        (command.login(["sh", "-c", script], {"OWN": "own"}, account(shell), **given), "profile"),
        (command.plain(["sh", "-c", script], {"OWN": "own"}, ACCOUNT, **given), "host"),
    ):
        assert run(start, tmp_path, ALSO="inherited").stdout.decode() == f"{zone} C.UTF-8 none none own\n0\n"
        inherited = run(start, tmp_path, LANG="de_DE.UTF-8").stdout.decode()
        assert inherited == f"{zone} de_DE.UTF-8 none none own\n0\n"


def test_a_shell_that_is_none_of_the_known_is_not_used() -> None:
    for shell in ("/usr/sbin/nologin", "/bin/false", "bash", "/opt/evil", "", "/opt/../bin/tcsh"):
        assert " /bin/sh -l -c " in command.login(["true"], {}, account(shell)).argv[2]
    assert " /usr/bin/zsh -l -c " in command.login(["true"], {}, account("/usr/bin/zsh")).argv[2]


def test_a_wrapper_gets_the_command_as_arguments_or_as_one_quoted_string() -> None:
    argv = ["printf", "%s", "it's $HOME"]
    assert command.wrap(argv, ("enter", "--"), None) == ("enter", "--", *argv)
    *first, quoted = command.wrap(argv, None, ("sh", "-c"))
    done = subprocess.run([*first, quoted], capture_output=True, check=True)
    assert done.stdout == b"it's $HOME"
    assert command.wrap(argv, None, None) == tuple(argv)


def test_variables_come_low_to_high_and_isods_own_last() -> None:
    result = assemble(
        session={"TZ": "session", "LC_ALL": "session", "A": "session"},
        hints=["LANG=hint", "TZ=hint", "LC_ALL=hint", "A=hint"],
        policy={"LC_ALL": "policy", "A": "policy", "XDG_RUNTIME_DIR": "/policy"},
        asked=["A=asked=", "DBUS_SESSION_BUS_ADDRESS=unix:path=/host"],
        account=ACCOUNT,
        terminal=False,
        display={},
    )
    assert (result["LANG"], result["TZ"], result["LC_ALL"], result["A"]) == ("hint", "hint", "policy", "asked=")
    assert result["XDG_RUNTIME_DIR"] == "/run/user/1000"
    assert result["DBUS_SESSION_BUS_ADDRESS"] == "unix:path=/run/user/1000/bus"


def test_a_login_user_of_the_host_is_known_and_an_account_of_a_service_is_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accounts = {
        1001: ("bob", "/bin/bash"),
        1002: ("locked", "/usr/sbin/nologin"),
        70000: ("ldap", "/bin/sh"),
        70: ("postgres", "/bin/bash"),
        1: ("daemon", "/usr/sbin/nologin"),
        101: ("messagebus", "/run/current-system/sw/bin/nologin"),
        65534: ("nobody", "/usr/sbin/nologin"),
    }

    def getpwuid(uid: int) -> pwd.struct_passwd:
        name, shell = accounts[uid]
        return pwd.struct_passwd((name, "x", uid, uid, "", "/", shell))

    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    named = {uid: host_users.login_user(uid) for uid in (*accounts, 4242)}
    assert named == {1001: "bob", 1002: "locked", 70000: "ldap", 70: "postgres", 1: "", 101: "", 65534: "", 4242: ""}
