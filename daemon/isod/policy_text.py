"""Turning the text of a policy file into keys, and what is wrong with them into sentences with a line."""

import difflib
import re
import tomllib
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_AT_LINE = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)")
_TABLE = re.compile(r"\s*\[\[?\s*([^\]#]+?)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_KEY_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")

# pydantic's words are about Python; these are about TOML.
_SENTENCES = {
    "bool_type": "must be true or false",
    "dict_type": "must be a table",
    "int_type": "must be a whole number",
    "model_type": "must be a table",
    "string_type": "must be a string",
    "tuple_type": "must be a list of strings",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_long": "must have at most {max_length} entries",
    "literal_error": "must be {expected}",
}
# So are tomllib's, as far as they name no way out.
_TOML_SENTENCES = {
    "Invalid value": 'not a value: write texts in quotes ("alice") and lists in brackets (["alice"])',
    "Invalid statement": "not TOML: each line is a [table], or `key = value`",
}
# What users look for here and what another program decides, until a key of ours does.
_OF_NSPAWN = frozenset({"bind", "binds", "capabilities", "mounts", "network", "ports", "private_users", "shares"})


class TextProblem(ValueError):
    """The text is not TOML; `line` counts from 1."""

    def __init__(self, line: int, text: str) -> None:
        """Keep both."""
        super().__init__(text)
        self.line = line


def parse(untrusted_bytes: bytes) -> tuple[str, dict[str, Any]]:
    """Give the text and its keys; raises TextProblem."""
    try:
        text = untrusted_bytes.decode()
    except UnicodeDecodeError as error:
        raise TextProblem(untrusted_bytes.count(b"\n", 0, error.start) + 1, "not UTF-8") from None
    if text.startswith("\ufeff"):
        raise TextProblem(1, "begins with a byte order mark; save it as UTF-8 without one")
    try:
        return text, tomllib.loads(text)
    except RecursionError:
        raise TextProblem(1, "nested too deeply") from None
    except ValueError as error:
        # Also numbers with thousands of digits, for which tomllib passes on int()'s own ValueError.
        message = str(error)
        found = _AT_LINE.search(message)
        line = int(found[1]) if found and found[1] else text.count("\n") + 1
        said = _AT_LINE.sub("", message)
        raise TextProblem(line, _TOML_SENTENCES.get(said, said)) from None


def line_of(text: str, location: Sequence[str | int]) -> int:
    """Give the line of a key, of its nearest parent that has one, or 1.

    tomllib tells no positions, so this reads the lines again; a guess is good enough for an editor to jump to.
    """
    wanted = tuple(part for part in location if isinstance(part, str))
    best_line, best_depth = 1, 0
    table: tuple[str, ...] = ()
    in_string = ""
    for number, line in enumerate(text.split("\n"), 1):
        if in_string:
            in_string = "" if line.count(in_string) % 2 else in_string
            continue
        if header := _TABLE.fullmatch(line):
            path = table = _parts(header[1])
        elif key := _KEY.match(line):
            path = (*table, *_parts(key[1]))
        else:
            continue
        depth = len(path) if path == wanted[: len(path)] else 0
        if depth > best_depth:
            best_line, best_depth = number, depth
        in_string = next((quote for quote in ('"""', "'''") if line.count(quote) % 2), "")
    return best_line


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _KEY_PART.findall(dotted))


def sentences(error: ValidationError, model: type[BaseModel]) -> list[tuple[tuple[str | int, ...], str]]:
    """Give location and sentence of each fault that pydantic found."""
    return [(detail["loc"], _sentence(detail, model)) for detail in error.errors(include_url=False)]


def _sentence(detail: ErrorDetails, model: type[BaseModel]) -> str:
    location = detail["loc"]
    where = ".".join(str(part) for part in location if isinstance(part, str) and part != "[key]")
    if detail["type"] == "extra_forbidden":
        return f"unknown key {where}{_suggestion(location, model)}"
    context = detail.get("ctx", {})
    if detail["type"] == "value_error":
        said = str(context["error"])
    else:
        said = _SENTENCES.get(detail["type"], detail["msg"]).format(**context)
    return f"{where}: {said}" if where else said


def _suggestion(location: tuple[str | int, ...], model: type[BaseModel]) -> str:
    """Say where an unknown key belongs, or name the known one that it resembles."""
    here, key = model, str(location[-1])
    for part in location[:-1]:
        inner = _tables(here).get(str(part))
        if inner is None:
            return ""
        here = inner
    if len(location) > 1 and key in model.model_fields:
        return "; it belongs above all [tables]"
    for name, table in _tables(model).items():
        if key in table.model_fields and table is not here:
            return f"; it belongs below [{name}]"
    near = difflib.get_close_matches(key, here.model_fields, n=1)
    if near:
        return f"; is {near[0]} meant?"
    if len(location) == 1 and key in _OF_NSPAWN:
        return "; systemd-nspawn decides that, by /etc/systemd/nspawn/NAME.nspawn (systemd.nspawn(5))"
    return ""


def _tables(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Give the keys of a model that are tables with known keys."""
    found = {name: field.annotation for name, field in model.model_fields.items()}
    return {name: inner for name, inner in found.items() if isinstance(inner, type) and issubclass(inner, BaseModel)}
