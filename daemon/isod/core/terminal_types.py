"""Which terminals are near to which, for containers that know fewer of them than the host (terminfo(5), term(7))."""

import re
from collections.abc import Mapping

# Longer ones are nobody's, and one with a slash would lead elsewhere (ncurses takes none either).
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,63}")
_XTERM = ("xterm-256color", "xterm", "vt100")
# By what a name begins with; terminals of our days do what xterm does.
_NEAREST: Mapping[str, tuple[str, ...]] = {
    "dumb": (),
    "unknown": (),
    "screen": ("screen-256color", "screen"),
    "tmux": ("tmux-256color", "tmux", "screen-256color", "screen"),
    "rxvt": ("rxvt-unicode-256color", "rxvt-256color", "rxvt"),
    "eterm": ("eterm-color", "eterm", "vt100"),
    "linux": ("linux",),
    "vte": _XTERM,
    "vt": ("vt220", "vt100"),
    "": _XTERM,
}


def asked_type(*sources: Mapping[str, str]) -> str:
    """Give the terminal that the last of these environments names; "" where none does. An empty TERM names none."""
    return next((source["TERM"] for source in reversed(sources) if source.get("TERM")), "")


def nearest_types(untrusted_type: str) -> tuple[str, ...]:
    """Give the names of terminals that can stand for one, itself first, if it is a name at all."""
    own = (untrusted_type,) if _NAME.fullmatch(untrusted_type) else ()
    near = next(names for begin, names in _NEAREST.items() if untrusted_type.startswith(begin))
    return tuple(dict.fromkeys(own + near))
