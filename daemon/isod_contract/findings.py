"""What `isoctl doctor` and `isoctl exposure` tell, and how a check is declared: once, where it is made."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, NamedTuple

_CHARACTERS_MAX = 2000


class Problem(NamedTuple):
    """What one check found: the fact, and the setting or command that changes it; each on one line.

    Without a fix it is a note: nothing is known to be wrong.
    """

    what: str
    fix: str


class Finding(NamedTuple):
    """One line of a report: a stable code, the fact, why it matters, the exact setting or command that ends it.

    A note has nothing that ends it.
    """

    code: str
    what: str
    why: str
    fix: str


class Check(NamedTuple):
    """One check: its code, why what it finds matters, and the function that looks at facts."""

    code: str
    why: str
    look: Callable[[Any], Iterable[Problem]]

    def findings(self, facts: object) -> list[Finding]:
        """Look, and give what is wrong, in texts that every message can carry: facts may hold what others wrote."""
        return [Finding(self.code, one_line(what), self.why, one_line(fix)) for what, fix in self.look(facts)]


def one_line(untrusted_text: str) -> str:
    """Make one short line of printable characters: bytes of names that are no UTF-8, and controls, become escapes.

    Of more than 2,000 characters those in the middle are left out, and their number is told.
    """
    words = " ".join(untrusted_text.split())
    line = "".join(character if character.isprintable() else _escaped(character) for character in words)
    half = _CHARACTERS_MAX // 2
    left_out = len(line) - 2 * half
    return f"{line[:half]} … ({left_out} characters left out) … {line[-half:]}" if left_out > 0 else line


def _escaped(character: str) -> str:
    """Give what is not printable as Python writes it; a byte of a file's name (os.fsdecode) as that byte."""
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else ascii(character)[1:-1]


def check(code: str, why: str) -> Callable[[Callable[[Any], Iterable[Problem]]], Check]:
    """Make a check of a function from facts to problems; its module need not list it anywhere."""

    def make(look: Callable[[Any], Iterable[Problem]]) -> Check:
        return Check(code, why, look)

    return make


def checks_of(package: ModuleType) -> tuple[Check, ...]:
    """Find all checks in a package's modules, in the order of modules, and in each as written.

    Raises TypeError if two have one code.
    """
    found: dict[str, Check] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for item in vars(module).values():
            if isinstance(item, Check):
                if item.code in found:
                    raise TypeError(f"two checks have the code {item.code!r}")
                found[item.code] = item
    return tuple(found.values())
