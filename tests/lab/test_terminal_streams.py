"""`-t` with redirected streams, and Ctrl-Z: a terminal inside behaves as one of the host does."""

import pytest

from lab.containers import SHELLS
from lab.machine import Lab

SETTINGS_SAME = "stty -a > ~/after; cmp ~/before ~/after && echo SAME || echo DIFFERENT"
# As sudo, ssh and gpg ask for a password: on /dev/tty, with echo off.
ASK = """import getpass, sys
word = getpass.getpass("Word: ")
print("said", word, "read", sys.stdin.read() if not sys.stdin.isatty() else "a terminal")
"""


@pytest.mark.parametrize("container", ["blog", "priv"])
def test_a_question_is_asked_on_the_terminal_whatever_is_redirected(lab: Lab, container: str) -> None:
    """N8: `isoctl run -t blog sudo x > log` had no terminal, nor a way to get one."""
    run = f"isoctl run -t {container} -- python3 -c '{ASK}'"
    redirected = {
        f"{run} > ~/log": "said secret read a terminal\n",
        f"{run} 2> ~/errors > ~/log": "said secret read a terminal\n",
        f"echo data | {run} > ~/log": "said secret read data\n\n",
        f"{run} < /dev/null > ~/log 2> ~/errors": "said secret read \n",
        f"x=$({run}); echo $x > ~/log": "said secret read a terminal\n",
    }
    for command, expected in redirected.items():
        script = f"stty -a > ~/before; {command}; echo code=$?; {SETTINGS_SAME}; cat ~/log"
        with lab.pty("bash", "--norc", "-c", script, user="alice") as terminal:
            terminal.read_until("Word: ", 20)
            terminal.send("secret\r")
            terminal.read_until("code=0")
            terminal.read_until("SAME")
            # What comes after that, the log, may have been read with it.
            shown = terminal.output.decode().partition("SAME")[0]
            assert terminal.wait() == 0
        assert terminal.output.decode().endswith(expected.replace("\n", "\r\n")), command
        assert "secret" not in shown, command


def test_tty_names_the_terminal(lab: Lab) -> None:
    """N8: and it can be opened by that name, as gpg does with GPG_TTY."""
    script = "isoctl run -t blog -- sh -c 'tty; echo by-name > $(tty)' > ~/log; cat ~/log; isoctl run -t blog tty | cat"
    with lab.pty("bash", "--norc", "-c", script, user="alice") as terminal:
        terminal.read_until("by-name")
        terminal.read_until("/dev/pts/")
        terminal.read_until("/dev/pts/")
        assert terminal.wait() == 0


@pytest.mark.parametrize("shell", [name for name in SHELLS if name != "nologin"])
def test_every_login_shell_gives_the_terminal_on(lab: Lab, shell: str) -> None:
    """N8: zsh opens files such that they never become its terminal."""
    command = (
        f"echo data | isoctl run -t acct_{shell}@shells -- sh -c 'cat; echo asked > /dev/tty; exit 3'; echo code=$?"
    )
    with lab.pty("bash", "--norc", "-c", command) as terminal:
        terminal.read_until("asked", 20)
        terminal.read_until("code=3")
        assert b"data" in terminal.output


def test_a_program_that_is_not_there_is_127_on_a_terminal_too(lab: Lab) -> None:
    """N8: 126 and 127 are those of shells."""
    script = "echo | isoctl run -t blog nosuch; echo code=$?; echo | isoctl run -t blog /etc/passwd; echo code=$?"
    with lab.pty("bash", "--norc", "-c", script, user="alice") as terminal:
        terminal.read_until("code=127")
        terminal.read_until("code=126")


def state_of(lab: Lab, container: str, marker: str) -> str:
    pid = lab.in_container(container, "pgrep", "-f", marker).stdout.split()[0]
    return lab.in_container(container, "ps", "-o", "stat=", "-p", pid).stdout.strip()


@pytest.mark.parametrize("container", ["blog", "priv"])
def test_ctrl_z_stops_an_app_and_fg_continues_it(lab: Lab, container: str) -> None:
    """N25: a hung app that ignores Ctrl-C needed a second terminal."""
    script = (
        f"set -m; stty -a > ~/before; isoctl run {container} -- sh -c 'trap \"\" INT; echo READY; exec sleep 4811'; "
    )
    script += f"echo code=$?; {SETTINGS_SAME}; read word; fg; echo code=$?; {SETTINGS_SAME}; kill %1; fg; echo code=$?"
    with lab.pty("bash", "--norc", "-c", script, user="alice") as terminal:
        terminal.read_until("READY", 20)
        lab.wait_for(lambda: state_of(lab, container, "sleep 4811").startswith("S"))
        terminal.send(b"\x03\x1a")
        terminal.read_until("code=148")
        terminal.read_until("SAME")
        lab.wait_for(lambda: state_of(lab, container, "sleep 4811").startswith("T"))
        terminal.send("on\r")
        lab.wait_for(lambda: state_of(lab, container, "sleep 4811").startswith("S"))
        terminal.send(b"\x1a")
        terminal.read_until("code=148")
        terminal.read_until("SAME")
        terminal.read_until("code=143")
    lab.wait_for(lambda: lab.in_container(container, "pgrep", "-f", "sleep 4811", check=False).returncode == 1)
