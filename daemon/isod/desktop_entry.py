"""Desktop entries of a container, as far as a menu needs them (Desktop Entry Specification 1.5); all is untrusted."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_ID_CHARS_MAX = 255
_PATH_CHARS_MAX = 4096
# What D-Bus starts by its name (D-Bus Specification, Bus names); the hyphen is written _ in its object's path.
_BUS_NAME = re.compile(r"(?=.{3,255}\Z)[A-Za-z_-][A-Za-z0-9_-]*(\.[A-Za-z_-][A-Za-z0-9_-]*)+")
_ACTIVATION = "org.freedesktop.Application"
_FIELD_CODE = re.compile(r"%(.)", re.DOTALL)
_FIELD_CODES = frozenset("fFuUdDnNickvm%")  # deprecated ones among them
_ESCAPED_IN_QUOTES = '"`$\\'
_PLAIN = re.compile(r"""[^\\"'\s]+""")
_TEXT_CHARS_MAX = 200
_EXEC_CHARS_MAX = 8192
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
    directory: str = ""  # where it starts; "": the home
    terminal: bool = False  # whether it needs one
    untrusted_try_exec: str = ""  # a program without which it is not there

    def values(self) -> dict[str, object]:
        """Give it as `Container.ListApplicationsFor` does."""
        return {
            "id": self.id,
            "name": self.name,
            "comment": self.comment,
            "command": self.command,
            "directory": self.directory,
            "terminal": self.terminal,
        }


def parse(
    untrusted_id: str, untrusted_text: str, languages: Iterable[str] = (), desktops: Iterable[str] = ()
) -> Application | None:
    """Read one file; None for what is no application to be shown, or is malformed.

    `languages` are locale names in the order of preference, as de_DE or de; `desktops` those of XDG_CURRENT_DESKTOP.
    """
    keys = _group(untrusted_text)
    if keys is None or not _is_id(untrusted_id) or keys.get("Type") != "Application":
        return None
    if _is_true(keys, "NoDisplay") or _is_true(keys, "Hidden") or not _is_for(keys, desktops):
        return None
    if "\0" in untrusted_text:
        return None
    localized = list(languages)
    name = _shown(_best(keys, "Name", localized))
    terminal = _is_true(keys, "Terminal")
    command = _command(keys.get("Exec", ""), name)
    if "Exec" not in keys and _is_true(keys, "DBusActivatable"):
        command, terminal = _activation(untrusted_id), False
    if not name or not command:
        return None
    comment = _shown(_best(keys, "Comment", localized))
    directory, try_exec = _directory(keys.get("Path", "")), _unescaped(keys.get("TryExec", ""))
    return Application(untrusted_id, name, comment, command, directory, terminal, try_exec)


def _is_id(untrusted_id: str) -> bool:
    """Tell whether a file's name gives an id that can be shown; it is never taken for a path."""
    return 0 < len(untrusted_id) <= _ID_CHARS_MAX and untrusted_id.isprintable() and "/" not in untrusted_id


def _is_true(keys: Mapping[str, str], key: str) -> bool:
    return keys.get(key) in ("true", "1")  # the second as of old; GLib reads it


def _is_for(keys: Mapping[str, str], desktops: Iterable[str]) -> bool:
    """Tell whether it is shown on these desktops: the first that is named decides (OnlyShowIn, NotShowIn)."""
    only, never = keys.get("OnlyShowIn"), keys.get("NotShowIn", "")
    for desktop in desktops:
        if desktop in (only or "").split(";"):
            return True
        if desktop in never.split(";"):
            return False
    return only is None


def _directory(untrusted_path: str) -> str:
    """Give a working directory as isod takes one; "" for what is none, so that the application starts all the same."""
    path = _unescaped(untrusted_path)
    fits = path.startswith("/") and path.isprintable() and len(path) <= _PATH_CHARS_MAX
    return path if fits and ".." not in path.split("/") else ""


def _activation(untrusted_id: str) -> tuple[str, ...]:
    """Give what asks the container's session bus to start it; () if its id is no name on a bus.

    systemd's busctl is where a container has a session bus at all, gdbus need not be.
    """
    if not _BUS_NAME.fullmatch(untrusted_id):
        return ()
    path = "/" + untrusted_id.replace(".", "/").replace("-", "_")
    return ("busctl", "--user", "call", "--", untrusted_id, path, _ACTIVATION, "Activate", "a{sv}", "0")


def _group(text: str) -> dict[str, str] | None:
    """Give the keys of the group [Desktop Entry], the first one of each."""
    keys: dict[str, str] | None = None
    for line in text.split("\n"):  # and at nothing else that Unicode knows as the end of a line
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
    return "".join(char for char in text if char.isprintable()).strip()[:_TEXT_CHARS_MAX]


def _command(untrusted_exec: str, name: str) -> tuple[str, ...]:
    """Split an Exec key and fill in its field codes, of which a menu gives no files; () if it is malformed."""
    words: list[str] = []
    position, text = 0, _unescaped(untrusted_exec) if len(untrusted_exec) <= _EXEC_CHARS_MAX else ""
    while position < len(text) and len(words) <= _ARGUMENTS_MAX:
        if text[position].isspace():
            position += 1
            continue
        word, position, quoted = _word(text, position)
        if position < 0 or not _FIELD_CODES.issuperset(_FIELD_CODE.findall(word)):
            return ()
        filled = _FIELD_CODE.sub(lambda match: {"%": "%", "c": name}.get(match[1], "\0"), word)
        # An argument that is only there for a file is left out, since there is none; in a script it is one of many.
        if "\0" not in filled:
            words.append(filled)
        elif quoted:
            words.append(filled.replace("\0", ""))
    fits = len(words) <= _ARGUMENTS_MAX and all(len(word) <= _ARGUMENT_CHARS_MAX for word in words)
    return tuple(words) if fits and words and words[0] else ()


def _word(text: str, position: int) -> tuple[str, int, bool]:
    """Give one word, the position after it (-1 without a closing quote), and whether any of it was quoted.

    The specification knows words in double quotes only. Files in the wild quote as a shell does, and GLib reads them.
    """
    result, quote, quoted = "", "", False
    while position < len(text) and (quote or not text[position].isspace()):
        if plain := _PLAIN.match(text, position):
            result, position = result + plain[0], plain.end()
            continue
        char, following = text[position], text[position + 1 : position + 2]
        position += 1
        if char == "\\" and following and (not quote or (quote == '"' and following in _ESCAPED_IN_QUOTES)):
            result += following
            position += 1
        elif char == quote:
            quote = ""
        elif char in "\"'" and not quote:
            quote, quoted = char, True
        else:
            result += char
    return result, -1 if quote else position, quoted
