"""Desktop entries of a container, as far as a menu needs them (Desktop Entry Specification 1.5); all is untrusted."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_ID = re.compile(r"[A-Za-z0-9._+@-]{1,200}")
_FIELD_CODE = re.compile(r"%(.)")
_TEXT_CHARS_MAX = 200
_ARGUMENTS_MAX = 64
_ARGUMENT_CHARS_MAX = 2048
_ESCAPES = {"s": " ", "n": "\n", "t": "\t", "r": "\r", "\\": "\\"}


@dataclass(frozen=True, slots=True)
class Application:
    """One entry of a menu."""

    id: str
    name: str
    comment: str
    command: tuple[str, ...]

    def values(self) -> dict[str, object]:
        """Give it as `Container.ListApplications` does."""
        return {"id": self.id, "name": self.name, "comment": self.comment, "command": self.command}


def parse(untrusted_id: str, untrusted_text: str, languages: Iterable[str] = ()) -> Application | None:
    """Read one file; None for what is no application to be shown, or is malformed.

    `languages` are locale names in the order of preference, as de_DE or de.
    """
    keys = _group(untrusted_text)
    if keys is None or not _ID.fullmatch(untrusted_id) or keys.get("Type") != "Application":
        return None
    if "true" in (keys.get("NoDisplay"), keys.get("Hidden"), keys.get("Terminal")):
        return None
    localized = list(languages)
    name = _shown(_best(keys, "Name", localized))
    command = _command(keys.get("Exec", ""), name)
    if not name or not command:
        return None
    return Application(untrusted_id, name, _shown(_best(keys, "Comment", localized)), command)


def _group(text: str) -> dict[str, str] | None:
    """Give the keys of the group [Desktop Entry], the first one of each."""
    keys: dict[str, str] | None = None
    for line in text.splitlines():
        if line.startswith("["):
            if keys is not None:
                break
            if line.strip() == "[Desktop Entry]":
                keys = {}
        elif keys is not None and "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            keys.setdefault(key.strip(), value.strip())
    return keys


def _best(keys: dict[str, str], key: str, languages: list[str]) -> str:
    names = [*(f"{key}[{language}]" for language in languages), key]
    return _unescaped(next((keys[name] for name in names if name in keys), ""))


def _unescaped(value: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[0]), value)


def _shown(text: str) -> str:
    """Keep what can be shown as one line of a menu."""
    return "".join(char for char in text if char.isprintable())[:_TEXT_CHARS_MAX]


def _command(untrusted_exec: str, name: str) -> tuple[str, ...]:
    """Split an Exec key and drop its field codes, since a menu gives no files; () if it is malformed."""
    words: list[str] = []
    position, text = 0, _unescaped(untrusted_exec)
    while position < len(text) and len(words) <= _ARGUMENTS_MAX:
        if text[position] == " ":
            position += 1
            continue
        word, position, quoted = _word(text, position)
        if position < 0:
            return ()
        codes = _FIELD_CODE.findall(word)
        if quoted or not codes:
            words.append(word)
        elif word == "%c":
            words.append(name)
        elif set(codes) == {"%"}:
            words.append(word.replace("%%", "%"))
        # else %f %F %u %U %i %k and the deprecated ones: nothing to put there
    fits = len(words) <= _ARGUMENTS_MAX and all(len(word) <= _ARGUMENT_CHARS_MAX and "\0" not in word for word in words)
    return tuple(words) if fits else ()


def _word(text: str, position: int) -> tuple[str, int, bool]:
    """Give one word, the position after it (-1 without a closing quote), and whether it was quoted."""
    if text[position] != '"':
        end = text.find(" ", position)
        end = len(text) if end < 0 else end
        return text[position:end], end, False
    result, position = "", position + 1
    while position < len(text) and text[position] != '"':
        if text[position] == "\\" and position + 1 < len(text):
            position += 1
        result += text[position]
        position += 1
    return result, position + 1 if position < len(text) else -1, True
