"""How an argument vector becomes the app's ExecStart: wrappers, the login profile, and variables set after that."""

import posixpath
import shlex
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from isod.core import login_profile, missing_program
from isod.ports import Account
from isod_contract.names import CARRIER_PREFIX

DEFAULT_PATH = (
    "/etc/profiles/per-user/{user}/bin:/run/current-system/sw/bin:"
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)
NOTHING: Mapping[str, str] = MappingProxyType({})


class Start(NamedTuple):
    """What systemd is given: program, argument vector, environment."""

    path: str
    argv: tuple[str, ...]
    environment: dict[str, str]


def default_path(user: str) -> str:
    """Give PATH of an account where no profile sets one."""
    return DEFAULT_PATH.format(user=user)


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
    return ("/bin/sh", "-c", f'true <"$0";{_exec_posix(argv, container)}', path, *argv)


def plain(
    argv: Sequence[str],
    environment: Mapping[str, str],
    account: Account,
    mark: str = "",
    container: str = "",
    *,
    fallbacks: Mapping[str, str] = NOTHING,
    unset: Collection[str] = (),
) -> Start:
    """Start without a login shell. The shell in between makes 126, 127 and their sentences (exec by systemd: 203).

    `mark` is a word that stands in the shell's command line, until the command has taken its place; `container` is
    named if the program is not there. `fallbacks` are for what is not set inside, `unset` names what the command must
    not have.
    """
    path = {"PATH": default_path(account.name)}
    script, carried = _restoring({}, fallbacks, "")
    script = _marked(mark) + script + _without(unset) + _exec_posix(argv, container)
    return Start("/bin/sh", ("sh", "-c", script, "sh", *argv), {**path, **environment, **carried})


def login(
    argv: Sequence[str],
    environment: Mapping[str, str],
    account: Account,
    mark: str = "",
    container: str = "",
    *,
    fallbacks: Mapping[str, str] = NOTHING,
    unset: Collection[str] = (),
) -> Start:
    """Start with the environment of the account's login profile. Values travel in the environment only, never as words.

    The profile may set any variable, so each of isod's travels under another name, and is put in its place last.
    """
    shell = account.shell
    name = posixpath.basename(shell)
    if name not in ("bash", "zsh", "fish", "ksh", "dash", "sh") or not shell.startswith("/"):
        shell = "/bin/sh"
    profile = login_profile.script(shell, account.name, container, default_path(account.name))
    restoring, carried = _restoring(environment, fallbacks, profile)
    script = _marked(mark) + restoring + _without(unset) + _exec_posix(argv, container)
    return Start("/bin/sh", ("sh", "-c", script, "sh", *argv), {**environment, **carried})


def _restoring(environment: Mapping[str, str], fallbacks: Mapping[str, str], script: str) -> tuple[str, dict[str, str]]:
    """Give a script after which variables are as they shall be, fallbacks where nothing else set them; and carriers.

    The script in between neither sees these nor leaves any. Values are in positional parameters meanwhile, which no
    profile reaches.
    """
    values = [*environment.values(), *fallbacks.values()]
    if not values:
        return script, {}
    carried = {f"{CARRIER_PREFIX}{number}": value for number, value in enumerate(values)}
    kept = " ".join(f'"${carrier}"' for carrier in carried)
    restored = [f'{name}="${{{number}}}"' for number, name in enumerate(environment, 1)]
    restored += [f'{name}="${{{name}:-${{{number}}}}}"' for number, name in enumerate(fallbacks, len(environment) + 1)]
    gone = f"unset {' '.join(carried)};"
    return f'set -- {kept} "$@";{gone}{script}{gone}export {" ".join(restored)};shift {len(values)};', carried


def _without(names: Collection[str]) -> str:
    return f"unset {' '.join(names)};" if names else ""


def _marked(mark: str) -> str:
    return f": {mark};" if mark else ""


def _exec_posix(argv: Sequence[str], container: str) -> str:
    check = missing_program.check(argv, container)
    # dash knows no `exec --`, bash as sh needs it for a command that begins with a dash: env(1) settles both.
    return check + ('exec env -- "$@"' if argv[0].startswith("-") else 'exec "$@"')
