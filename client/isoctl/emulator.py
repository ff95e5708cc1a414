"""The user's terminal emulator on the host, for applications of a container that need a terminal."""

import os
import shlex
import shutil
import subprocess
import sys

from isoctl import cli

# What stands before the command to run, where it is not -e; the first that is installed is taken.
_EMULATORS: dict[str, tuple[str, ...]] = {
    "xdg-terminal-exec": (),  # the user's own choice (Default Terminal Execution Specification)
    "x-terminal-emulator": ("-e",),  # the host's (Debian Policy 11.8.3)
    "foot": (),
    "footclient": (),
    "kitty": (),
    "alacritty": ("-e",),
    "ghostty": ("-e",),
    "wezterm": ("start", "--"),
    "ptyxis": ("--",),
    "kgx": ("--",),
    "gnome-terminal": ("--",),
    "konsole": ("-e",),
    "xfce4-terminal": ("-x",),
    "mate-terminal": ("-x",),
    "terminator": ("-x",),
    "urxvt": ("-e",),
    "st": ("-e",),
    "xterm": ("-e",),
}
# Of others, as most know it from xterm(1).
_USUAL = ("-e",)
# isoctl's own sentences would vanish with the window (isoctl(1), EXIT STATUS).
_HOLD = '"$@"; case $? in 125|126|127) printf "\\n[Enter closes this window]"; read -r _;; esac'

_IN_DIRECTORY = 'cd -- "$0" && exec "$@"'


def run_in_terminal(container: str, command: list[str], directory: str) -> None:
    """Open a terminal in which a command of a container runs; does not wait. Raises UsageError where there is none."""
    own = [*sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1], "run", "-t"]
    # Not by -w, which looks at the host's directories too: this one is what a container's file says.
    inside = ["sh", "-c", _IN_DIRECTORY, directory, *command] if directory else command
    words = [*_emulator(command[0]), "sh", "-c", _HOLD, "sh", *own, container, "--", *inside]
    try:
        subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        message = f"{words[0]}: {error.strerror}"
        raise cli.UsageError(message) from None


def _emulator(program: str) -> list[str]:
    """Give the words before a command: of $TERMINAL, else of what is installed. Raises UsageError."""
    try:
        chosen = shlex.split(os.environ.get("TERMINAL", ""))
    except ValueError:
        chosen = []
    if chosen and shutil.which(chosen[0]):
        return [*chosen, *_EMULATORS.get(os.path.basename(chosen[0]), _USUAL)]
    for name, before in _EMULATORS.items():
        if shutil.which(name):
            return [name, *before]
    message = f"{program} needs a terminal, and no terminal emulator was found; install foot, or name yours in TERMINAL"
    raise cli.UsageError(message)
