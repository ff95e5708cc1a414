"""How an argument vector becomes the app's ExecStart: login shells, wrappers, and variables set after the profile."""

import posixpath
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from isod.core import missing_program

DEFAULT_PATH = "/etc/profiles/per-user/{user}/bin:/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/bin"
CARRIER_PREFIX = "_ISOCTL_"


class Start(NamedTuple):
    """What systemd is given: program, argument vector, environment."""

    path: str
    argv: tuple[str, ...]
    environment: dict[str, str]


def wrap(argv: Sequence[str], wrapper: Sequence[str] | None, wrapper_shell: Sequence[str] | None) -> tuple[str, ...]:
    """Put policy's wrapper before a command: as it is, or as one shell-quoted string."""
    if wrapper:
        return (*wrapper, *argv)
    if wrapper_shell:
        return (*wrapper_shell, shlex.join(argv))
    return tuple(argv)


def on_terminal(argv: Sequence[str], path: str, container: str = "") -> tuple[str, ...]:
    """Give a terminal to a command whose standard input is something else.

    A terminal that the leader of a session opens becomes the session's own (tty_ioctl(4)), where the shell opens it
    without O_NOCTTY: zsh does not. `true` is no special built-in, so a terminal that can't be opened ends nothing.
    """
    return ("/bin/sh", "-c", f'true <"$0";{_exec_posix(argv, container, bash=False)}', path, *argv)


def plain(argv: Sequence[str], environment: Mapping[str, str], user: str, mark: str = "", container: str = "") -> Start:
    """Start without a login shell. The shell in between makes 126, 127 and their sentences (exec by systemd: 203).

    `mark` is a word that stands in the shell's command line, until the command has taken its place; `container` is
    named if the program is not there.
    """
    path = {"PATH": DEFAULT_PATH.format(user=user)}
    script = _marked(mark) + _exec_posix(argv, container, bash=False)
    return Start("/bin/sh", ("sh", "-c", script, "sh", *argv), {**path, **environment})


def login(
    argv: Sequence[str], environment: Mapping[str, str], shell: str, mark: str = "", container: str = ""
) -> Start:
    """Start through a login shell. Values travel in the environment only, never in an argument vector.

    The profile may set any variable, so each of isod's travels twice, and the shell restores it after the profile.
    """
    name = posixpath.basename(shell)
    if name not in ("bash", "zsh", "fish", "ksh", "dash", "sh") or not shell.startswith("/"):
        name, shell = "sh", "/bin/sh"
    carried = {f"{CARRIER_PREFIX}{number}": (key, value) for number, (key, value) in enumerate(environment.items())}
    both = dict(environment) | {carrier: value for carrier, (_, value) in carried.items()}
    names = {carrier: key for carrier, (key, _) in carried.items()}
    if name == "fish":
        restore = "".join(f"set -gx {key} ${carrier};set -e {carrier};" for carrier, key in names.items())
        # fish reads options after the script too, and has an `exec` without `--`: sh takes the command on.
        script = (
            f"{_marked(mark)}{restore}exec /bin/sh -c {_fish_quote(_exec_posix(argv, container, bash=False))} sh $argv"
        )
        return Start(shell, ("fish", "--login", "-c", script, "--", *argv), both)
    restore = "".join(f'export {key}="${carrier}";unset {carrier};' for carrier, key in names.items())
    script = _marked(mark) + restore + _exec_posix(argv, container, bash=name in ("bash", "zsh", "ksh"))
    if name in ("bash", "zsh"):
        return Start(shell, (name, "-l", "-c", script, name, *argv), both)
    # The `-` before the name makes every other shell a login shell (login(1)).
    return Start(shell, (f"-{name}", "-c", script, name, *argv), both)


def _marked(mark: str) -> str:
    return f": {mark};" if mark else ""


def _exec_posix(argv: Sequence[str], container: str, *, bash: bool) -> str:
    check = missing_program.check(argv, container)
    if bash:
        return check + 'exec -- "$@"'
    # dash knows no `exec --`, bash as sh needs it for a command that begins with a dash: env(1) settles both.
    return check + ('exec env -- "$@"' if argv[0].startswith("-") else 'exec "$@"')


def _fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
