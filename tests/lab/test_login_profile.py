"""Login profiles that do more than set variables, in a real container: the command keeps what is its own."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.containers import SHELLS
from lab.machine import Lab

PROFILES = {
    "reads all of its input": "cat >/dev/null",
    "prints, and ends elsewhere": "echo hello; echo hello >&2; cd /usr",
    "leaves a program behind": "sleep 4801 &",
}


@contextmanager
def profile(lab: Lab, text: str, container: str = "shells", fish: str | None = None) -> Iterator[None]:
    """Have every login shell of the container run something after it has set SEEN."""
    lab.start(container)
    posix = f"export SEEN=profile\n{text}\n"
    of_fish = f"set -gx SEEN profile\n{text if fish is None else fish}\n"
    files = {"/etc/profile.d/odd.sh": posix, "/etc/zsh/zprofile": posix, "/etc/fish/conf.d/odd.fish": of_fish}
    for path, content in files.items():
        write = 'mkdir -p "${0%/*}"; cat > "$0"'
        lab.in_container(container, "sh", "-c", write, path, stdin=content.encode())
    try:
        yield
    finally:
        lab.in_container(container, "rm", *files)
        lab.in_container(container, "pkill", "-f", "sleep 4801", check=False)


def isoctl(lab: Lab, *arguments: str, user: str = "alice", **options: object) -> subprocess.CompletedProcess[str]:
    return lab.run("isoctl", *arguments, user=user, check=False, **options)


@pytest.mark.parametrize("does", PROFILES)
def test_a_profile_takes_nothing_from_the_command(lab: Lab, does: str) -> None:
    """R-5, R-6: in each shell; `seq 100 | isoctl run blog wc -l` was 0, and `cd` and `echo` of a profile stuck."""
    lines = "".join(f"{number}\n" for number in range(1, 101))
    with profile(lab, PROFILES[does]):
        for shell in SHELLS:
            account = ("-u", f"acct_{shell}", "-w", "/tmp", "shells")
            script = "echo $(wc -l) $(pwd) $SEEN; exit 9"
            done = isoctl(lab, "run", *account, "sh", "-c", script, user="root", stdin=lines.encode())
            assert (done.returncode, done.stdout, done.stderr) == (9, "100 /tmp profile\n", ""), shell


def test_a_profile_that_starts_another_program_in_its_place(lab: Lab) -> None:
    """R-6: `exec fish` swallowed the command, `exec tmux` ended it, and nothing was said."""
    with profile(lab, "exec fish", "blog", fish=""):
        done = isoctl(lab, "run", "blog", "sh", "-c", "cat; echo $SEEN", stdin=b"in ")
        assert (done.returncode, done.stdout, done.stderr) == (0, "in profile\n", "")
    told = "isoctl: the login profile of alice in blog ended before it was through; the command runs with the default"
    for text in ('[ -n "$TMUX" ] || exec tmux', "exit 3", "set -e; false"):
        with profile(lab, text, "blog"):
            done = isoctl(lab, "run", "blog", "sh", "-c", "cat; exit 4", stdin=b"in")
            assert (done.returncode, done.stdout) == (4, "in"), text
            assert done.stderr.startswith(told), text


def test_a_profile_that_hangs_delays_and_harms_no_more(lab: Lab) -> None:
    with profile(lab, "exec sleep 4801", "blog"):
        done = isoctl(lab, "run", "blog", "echo", "here")
        assert (done.returncode, done.stdout) == (0, "here\n")
        assert "took over 10 s" in done.stderr
    # Detached, it counts as begun once it is the command.
    with profile(lab, "sleep 1", "blog"):
        done = isoctl(lab, "run", "-d", "blog", "nosuch")
        assert done.returncode == 127


def test_a_shell_runs_the_profile_once_and_on_the_terminal(lab: Lab) -> None:
    """R-6: it ran twice, the first time unseen."""
    with profile(lab, "echo ran >> ~/ran; tty", "blog"):
        with lab.pty("isoctl", "shell", "blog", user="alice") as terminal:
            terminal.read_until("/dev/pts/")
            terminal.send("wc -l < ~/ran; rm ~/ran; echo code$((1 + 1))\r")
            shown = terminal.read_until("code2")
            terminal.send("exit\r")
            assert terminal.wait() == 0
        assert re.search(rb"\b1\r\n", shown), shown
        # And what asks for the name of the terminal gets that of the command's.
    with profile(lab, "export GPG_TTY=$(tty)", "blog", fish="set -gx GPG_TTY (tty)"):
        with lab.pty("isoctl", "run", "blog", "sh", "-c", "echo gpg=$GPG_TTY", user="alice") as terminal:
            terminal.read_until("gpg=/dev/pts/")
            assert terminal.wait() == 0
        assert isoctl(lab, "run", "blog", "printenv", "GPG_TTY").returncode == 1


def test_what_a_profile_leaves_behind_holds_no_stream_of_the_callers(lab: Lab) -> None:
    """An ssh-agent that a profile starts had the caller's pipes, and got what was meant for the command."""
    with profile(lab, "sleep 4801 &", "blog"):
        done = isoctl(lab, "run", "blog", "cat", stdin=b"input")
        assert (done.returncode, done.stdout) == (0, "input")
        script = 'for pid in $(pgrep -f "sleep 480[1]"); do readlink /proc/$pid/fd/1 /proc/$pid/fd/2; done'
        links = lab.in_container("blog", "sh", "-c", script).stdout.split()
        assert set(links) == {"/dev/null"}
