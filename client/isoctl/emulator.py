"""The user's terminal emulator on the host, for applications of a container that need a terminal.

An emulator gets no word of a container's: several join their words and have a shell of the host read that (lxterminal,
a terminator that runs already). So they lie in a file of the user's, which `isoctl __terminal` in the terminal reads.
Nor would variables or descriptors do: often the emulator's server starts the command, which has its own.
"""

import contextlib
import os
import shlex
import shutil
import stat
import subprocess
import sys
import time

from isoctl import cli
from isoctl.progress import write_error

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

_USAGE = 2  # isoctl(1), EXIT STATUS
_TOKEN_BYTES = 16
_WORDS_BYTES_MAX = 4 << 20
_LEFT_SEC = 3600.0
_PREFIX = "isoctl-terminal-"


def run_in_terminal(container: str, command: list[str], directory: str) -> None:
    """Open a terminal in which a command of a container runs; does not wait. Raises UsageError where there is none."""
    emulator = _emulator(command[0])
    # Not by -w, which looks at the host's directories too: this one is what a container's file says.
    inside = ["sh", "-c", _IN_DIRECTORY, directory, *command] if directory else command
    token = os.urandom(_TOKEN_BYTES).hex()
    try:
        _leave(token, [container, *inside])
        subprocess.Popen(
            [*emulator, *_isoctl(), "__terminal", token],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(_path(token))
        message = f"{error.filename or emulator[0]}: {error.strerror}"
        raise cli.UsageError(message) from None


def take_over(token: str) -> None:
    """Become the program that was left under a token. Raises UsageError; does not return otherwise."""
    try:
        container, *inside = _take(token)
        # As a vector: no shell reads these words, but for the one that has them as its arguments.
        os.execvp("sh", ["sh", "-c", _HOLD, "sh", *_isoctl(), "run", "-t", container, "--", *inside])  # noqa: S606
    except (OSError, ValueError) as error:
        message = f"no program waits for a terminal under that name ({error}); choose it once more in `isoctl menu`"
        if os.isatty(0) and os.isatty(2):
            # The window would close before anybody can read that.
            write_error(f"isoctl: {message}\n\n[Enter closes this window]")
            sys.stdin.readline()
            raise SystemExit(_USAGE) from None
        raise cli.UsageError(message) from None


def _isoctl() -> list[str]:
    """Give the words that start this isoctl, its verb aside."""
    return sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]


def _directory() -> str:
    directory = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return directory if os.path.isdir(directory) else "/tmp"  # noqa: S108 - names can't be foreseen, owners are looked at


def _path(token: str) -> str:
    return f"{_directory()}/{_PREFIX}{token}"


def _leave(token: str, words: list[str]) -> None:
    """Write words for the isoctl in the terminal, and drop what none ever came for. Raises OSError."""
    fd = os.open(_path(token), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        # No word on D-Bus holds a NUL.
        file.write("\0".join(words).encode())
    for entry in os.scandir(_directory()):
        with contextlib.suppress(OSError):
            if entry.name.startswith(_PREFIX) and time.time() - entry.stat(follow_symlinks=False).st_mtime > _LEFT_SEC:
                os.unlink(entry.path)


def _take(token: str) -> list[str]:
    """Read what was left and take it away. Raises OSError, ValueError."""
    if len(bytes.fromhex(token)) != _TOKEN_BYTES:
        message = "it has another length"
        raise ValueError(message)
    fd = os.open(_path(token), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            message = "its file is another user's"
            raise ValueError(message)
        os.unlink(_path(token))
        return file.read(_WORDS_BYTES_MAX).decode().split("\0")


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
