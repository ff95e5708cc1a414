"""The README as the tests read it: its blocks of code, and what it has a newcomer install."""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

from lab.product import repository


class Block(NamedTuple):
    """A block of code: the section that it is in, the words of its fence, its text."""

    section: str
    words: tuple[str, ...]
    text: str

    def word(self, key: str) -> str:
        """Give the value of `key=value` on the fence; "" without it."""
        return next((word.partition("=")[2] for word in self.words if word.startswith(f"{key}=")), "")

    @property
    def user(self) -> str:
        """Who types it, as the fence says: root or alice."""
        return self.word("as")

    @property
    def is_run(self) -> bool:
        """Whether the tests do what it says."""
        return bool(self.user or self.word("file"))


def text() -> str:
    """Give the whole README."""
    return (repository() / "README.md").read_text()


def blocks(readme: str) -> list[Block]:
    """Give all blocks of code, fenced and indented, with the section that they are in."""
    found: list[Block] = []
    section = ""
    lines = iter(readme.splitlines())
    for line in lines:
        if line.startswith("#"):
            section = line.lstrip("# ")
        elif line.startswith("```"):
            found.append(
                Block(section, tuple(line.removeprefix("```").split()), "\n".join(iter(lines.__next__, "```")))
            )
        elif line.startswith("    "):
            found.append(Block(section, (), line.strip()))
    return found


def packages(readme: str) -> list[str]:
    """Give the packages of all its `apt install` lines."""
    words = [word for line in re.findall(r"^apt install (.*)$", readme, re.MULTILINE) for word in line.split()]
    return [word for word in words if not word.startswith("-")]


def guest_options(readme: str) -> list[str]:
    """Give the options of its mmdebstrap, the last of them the suite."""
    (command,) = re.findall(r"^mmdebstrap (.*) \S+$", readme, re.MULTILINE)
    return shlex.split(command)
