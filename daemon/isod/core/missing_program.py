"""What a container says of a command that it does not have: a sentence with a way out, in place of its shell's."""

import re
import shlex
from collections.abc import Sequence

# As shells say it (sh(1)).
_NOT_FOUND = 127
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
# Which installs, by the program that is there.
_INSTALLERS = {"apt-get": "install", "dnf": "install", "zypper": "install", "pacman": "-S", "apk": "add"}
_FOUND = 'command -v -- "$1" >/dev/null'
_SHELLS_OWN = frozenset(("cd", "alias", "export", "source", ".", "set", "unset", "ulimit", "umask", "eval", "ll"))


def check(argv: Sequence[str], container: str) -> str:
    """Give a script of any POSIX shell that ends with 127 and a sentence if `$1`, the program, is not there.

    "" where the shell's own sentence will do: of a path, and without a name of the container.
    """
    program = argv[0]
    if "/" in program or not container:
        return ""
    # `command -v` knows what is the shell's own too, which exec can't start.
    is_there = '[ -n "$(unalias -a;command -v -- "$1"|grep ^/)" ]' if program in _SHELLS_OWN else _FOUND
    beginning = shlex.quote(f"isoctl: container {container} has no program '%s'; ")
    return f'{is_there}||{{ printf {beginning} "$1";{_way_out(program, container)};exit {_NOT_FOUND};}} >&2;'


def _way_out(program: str, container: str) -> str:
    """Give a command of a shell that writes what to do."""
    run = f"isoctl run {container}"
    if _ASSIGNMENT.fullmatch(program):
        text = f"variables are set before the name: isoctl run -e NAME=VALUE {container} ..."
    elif program.startswith("-"):
        text = f"flags of isoctl stand before the name: isoctl run -t {container} ..."
    elif program in _SHELLS_OWN or any(char.isspace() for char in program):
        text = f"a line of a shell is run by a shell: {run} sh -c '...'"
    else:
        return _installers(run)
    return f"echo {shlex.quote(text)}"


def _installers(run: str) -> str:
    tried = [
        f"if command -v {name} >/dev/null;then echo 'install it there: sudo {run} {name} {verb} PACKAGE';"
        for name, verb in _INSTALLERS.items()
    ]
    return "el".join(tried) + "else echo 'install it there';fi"
