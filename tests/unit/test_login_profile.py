"""What a login profile does is its own affair: the command keeps its streams, directory, exit code, and all of isod's.

Real shells run here, and for /bin/sh each that there is: dash and bash.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from isod.core import command, login_profile
from isod.ports import Account

SHELLS = [path for name in ("bash", "dash", "zsh", "ksh", "fish") if (path := shutil.which(name))]
SH = [path for name in ("dash", "bash") if (path := shutil.which(name))]
# What the command sees: its input, its directory, and what the profile set.
SHOWN = 'cat; echo; pwd; printf "%s\\n" "$SEEN" "$OURS" "$(umask)" "$(ulimit -S -n)" "$(env | grep -c ISOCTL)"; exit 7'

# Each sets SEEN first; the way in which it goes on is what the public reports are about.
PROFILES = {
    "reads all of its input": "cat >/dev/null",
    "asks something": "read -r answer; SEEN=$SEEN$answer",
    "prints": "echo hello; echo hello >&2",
    "ends elsewhere": "cd /",
    "stops at errors": "set -e",
    "has traps": "trap 'echo bye' EXIT; trap '' INT TERM",
    "becomes bash": "exec bash",
    "becomes another sh": "exec sh",
    "starts a shell and exits with it": "bash; exit",
    "leaves a program behind": 'sleep 300 & echo $! >"$HOME/left"',
    "has isod's own names": "export OURS=theirs _ISOCTL_0=theirs _ISOCTL_e=theirs PWD=/theirs",
    "exports its own options": "set -u; export SHELLOPTS",
    "exports what bash lets nobody set": "export UID EUID PPID SHELLOPTS BASHOPTS",
}


def started(
    tmp_path: Path,
    shell: str,
    sh: str,
    profile: str,
    argv: list[str] | None = None,
    outside: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command by way of a profile; `sh` is what /bin/sh is."""
    for name in (".profile", ".bash_profile", ".zprofile"):
        (tmp_path / name).write_text(f"export SEEN=profile OURS=theirs\n{profile}\n")
    fish = tmp_path / ".config/fish/config.fish"
    fish.parent.mkdir(parents=True, exist_ok=True)
    fish.write_text(f"set -gx SEEN profile; set -gx OURS theirs\n{profile}\n")
    (tmp_path / "sh").unlink(missing_ok=True)
    (tmp_path / "sh").symlink_to(sh)
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    start = command.login(
        argv or ["sh", "-c", SHOWN], {"OURS": "isod's\nown"}, Account("alice", 1, 1, str(tmp_path), shell), "", "blog"
    )
    assert "isod's" not in " ".join(start.argv)
    words = [word.replace("/bin/sh", str(tmp_path / "sh")) for word in start.argv]
    environment = {**(outside or {}), "HOME": str(tmp_path), "PATH": os.defpath, **start.environment}
    return subprocess.run(
        words, executable=sh, env=environment, cwd=work, input="input", capture_output=True, text=True, check=False
    )


def expected(tmp_path: Path, *, seen: str = "profile") -> str:
    # The mask and the limit are those of this process, unless a profile changes them.
    mask = os.umask(0o022)
    os.umask(mask)
    limit = subprocess.run(["sh", "-c", "ulimit -S -n"], capture_output=True, text=True, check=True).stdout
    return f"input\n{tmp_path}/work\n{seen}\nisod's\nown\n{mask:04o}\n{limit}0\n"


@pytest.mark.parametrize("sh", SH)
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("shell", [shell for shell in SHELLS if not shell.endswith("fish")])
def test_the_environment_of_a_profile_is_all_that_it_gives(tmp_path: Path, shell: str, profile: str, sh: str) -> None:
    """R-5, R-6: it ate the input, printed into the output, moved the command, or took its place."""
    done = started(tmp_path, shell, sh, PROFILES[profile])
    left = tmp_path / "left"
    if left.exists():
        os.kill(int(left.read_text()), 9)
    assert (done.returncode, done.stderr, done.stdout) == (7, "", expected(tmp_path))


@pytest.mark.parametrize("sh", SH)
@pytest.mark.parametrize("where", ["profile", "outside"])
def test_no_name_of_a_variable_is_taken_by_what_starts_the_command(
    tmp_path: Path, sh: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile's `own` arrived empty; a `p` of the container's systemd was a process number, in the profile too."""
    names = ("own", "one", "kind", "p", "r", "t", "d", "c", "e", "s")
    for name in names:
        monkeypatch.setenv(name, "kept")
    shown = " ".join(f'"${name}"' for name in names)
    exporting = f"export {' '.join(f'{name}=kept' for name in names)}" if where == "profile" else ""
    argv = ["sh", "-c", f'echo "$SEEN"; echo {shown}']
    done = started(tmp_path, "/bin/bash", sh, f"SEEN=$(echo {shown})\n{exporting}", argv, dict(os.environ))
    assert (done.stderr, done.stdout) == ("", f"{' '.join(['kept'] * len(names))}\n" * 2)


@pytest.mark.parametrize("sh", SH)
def test_options_of_a_shell_in_the_environment_do_not_reach_what_starts_the_command(tmp_path: Path, sh: str) -> None:
    """SHELLOPTS=nounset in the container's systemd: "GPG_TTY: unbound variable", and no command."""
    done = started(tmp_path, "/bin/bash", sh, "", outside={"SHELLOPTS": "nounset"})
    # A profile that does not stand it is told as every other one that ends early.
    assert done.returncode == 7
    assert "unbound" not in done.stderr


@pytest.mark.parametrize("sh", SH)
@pytest.mark.parametrize("profile", ["exit 3", "set -e; false", "exec true"])
@pytest.mark.parametrize("shell", [shell for shell in SHELLS if not shell.endswith(("fish", "zsh", "ksh"))])
def test_a_profile_that_ends_early_is_told_and_the_command_runs(
    tmp_path: Path, shell: str, profile: str, sh: str
) -> None:
    """R-6: with `exec tmux` in the profile no command ever ran, and nothing said why."""
    done = started(tmp_path, shell, sh, profile)
    assert (done.returncode, done.stdout) == (7, expected(tmp_path, seen=""))
    assert done.stderr == (
        "isoctl: the login profile of alice in blog ended before it was through; the command runs with the default "
        "environment\n"
    )


@pytest.mark.parametrize("sh", SH)
def test_a_profile_that_hangs_ends_at_a_deadline(tmp_path: Path, sh: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_profile, "DEADLINE_SEC", 1)
    began = time.monotonic()
    done = started(tmp_path, "/bin/bash", sh, "exec sleep 300")
    assert time.monotonic() - began < 100
    assert (done.returncode, done.stdout) == (7, expected(tmp_path, seen=""))
    assert done.stderr == (
        "isoctl: the login profile of alice in blog took over 1 s; the command runs with the default environment\n"
    )


@pytest.mark.parametrize("sh", SH)
@pytest.mark.parametrize("shell", SHELLS)
def test_mask_limits_and_odd_values_of_a_profile_count(tmp_path: Path, shell: str, sh: str) -> None:
    value = "a 'b' \"c\" $HOME `d` \\ \n\te*;"
    assign = f'set -gx SEEN "{value}"' if shell.endswith("fish") else f"export SEEN='{value}'"
    quoted = assign.replace("'b'", "'\\''b'\\''")
    if shell.endswith("fish"):
        quoted = assign.replace('"c"', '\\"c\\"').replace("$HOME", "\\$HOME").replace("\\ \n", "\\\\ \n")
    done = started(tmp_path, shell, sh, f"{quoted}\numask 027\nulimit -S -n 77\n")
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout == f"input\n{tmp_path}/work\n{value}\nisod's\nown\n0027\n77\n0\n"


@pytest.mark.parametrize("sh", SH)
@pytest.mark.parametrize("shell", SHELLS)
def test_programs_that_are_not_there_are_told_as_ever(tmp_path: Path, shell: str, sh: str) -> None:
    done = started(tmp_path, shell, sh, "", ["nosuch"])
    assert done.returncode == 127
    assert done.stderr.startswith("isoctl: container blog has no program 'nosuch'; ")
    assert started(tmp_path, shell, sh, "", ["/etc/passwd"]).returncode == 126
    # A directory that only the profile has on the path.
    own = tmp_path / "bin/own"
    own.parent.mkdir()
    own.write_text("#!/bin/sh\nexit 9\n")
    own.chmod(0o755)
    path = f"set -gx PATH {own.parent} $PATH" if shell.endswith("fish") else f"PATH={own.parent}:$PATH"
    assert started(tmp_path, shell, sh, path, ["own"]).returncode == 9
