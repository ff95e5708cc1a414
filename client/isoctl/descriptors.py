"""Descriptors beyond the three standard ones that a command names: none of them enters a container."""

import os

# A command that names one does so by these; without them nothing is looked for, since `re` costs a tenth of a start.
_SIGNS = ("/fd/", "<&", ">&", "-fd")
_STANDARD_MAX = 2
_PATTERN = r"(?:/dev/fd/|/proc/self/fd/|[<>]&|-fd=)([0-9]{1,7})(?![0-9])"


def named(words: list[str]) -> str:
    """Say which open descriptor of isoctl's a command names, by `<(...)`, `<&5` or `--passphrase-fd 5`; "" for none."""
    if not any(sign in word for word in words for sign in _SIGNS):
        return ""
    import re

    for before, word in zip(("", *words), words, strict=False):
        numbers = re.findall(_PATTERN, word)
        if before.startswith("-") and before.endswith("-fd") and word.isdigit():
            numbers.append(word)
        for number in map(int, numbers):
            # A script that opens one itself means that one.
            if number > _STANDARD_MAX and (what := _what(number)) and not re.search(rf"(?<![0-9]){number}[<>]", word):
                return f"{word!r} names descriptor {number} ({what}); only 0, 1 and 2 enter a container: use stdin"
    return ""


def _what(number: int) -> str:
    """Give what a descriptor of isoctl's is open on; "" if it is not open, or not for a program that is started."""
    try:
        return os.readlink(f"/proc/self/fd/{number}") if os.get_inheritable(number) else ""
    except OSError:
        return ""
