"""Strict models of what callers send, built from the option classes of the contract.

Every model refuses unknown keys by name and a variant of another type by key; what it gives back is the option class
itself, with descriptors still as indices into the message.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
)

from isod.bus.values import shown
from isod_contract import limits
from isod_contract.errors import InvalidArgument
from isod_contract.methods import EXPLAINED_ACTIONS
from isod_contract.names import is_account_name, is_app_id, is_container_name, is_x11_name
from isod_contract.options import DISPLAY_MODES, HINT_NAMES, WAYLAND_MODES, Wire, wire_key, wire_options
from isod_wire import FdSet, Variant

_Options = TypeVar("_Options")

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f-\x9f]*")
_SESSION_ID = re.compile(r"[A-Za-z0-9]{1,64}")
_SOCKET_NAME = re.compile(r"(?!\.)[A-Za-z0-9_.-]{1,64}")
_INTERFACE = re.compile(r"[a-z0-9_]{1,96}(@[0-9]{1,10})?")  # with a version where it is the version that counts
_SIGNAL_MAX = 64
_UNIT_CHARS_MAX = 255


def check_argv(untrusted_argv: Sequence[str]) -> tuple[str, ...]:
    """Give the argument vector; raises InvalidArgument that names the position of what is wrong."""
    if not untrusted_argv:
        raise InvalidArgument(argument="argv", reason="is empty, name a command")
    if len(untrusted_argv) > limits.ARGV_STRINGS_MAX:
        raise InvalidArgument(argument="argv", reason=f"has more than {limits.ARGV_STRINGS_MAX} strings")
    if not untrusted_argv[0]:
        raise InvalidArgument(argument="argv[0]", reason="is empty, name a command")
    total_bytes = 0
    for position, argument in enumerate(untrusted_argv):
        if "\0" in argument:
            raise InvalidArgument(argument=f"argv[{position}]", reason="has a NUL character")
        size = len(argument.encode())
        if size > limits.ARGUMENT_BYTES_MAX:
            raise InvalidArgument(
                argument=f"argv[{position}]", reason=f"is longer than {limits.ARGUMENT_BYTES_MAX} bytes"
            )
        total_bytes += size + 1
        if total_bytes > limits.ARGV_BYTES_MAX:
            raise InvalidArgument(
                argument=f"argv[{position}]", reason=f"takes argv beyond {limits.ARGV_BYTES_MAX} bytes"
            )
    return tuple(untrusted_argv)


def check_grants(untrusted_grants: Mapping[str, Variant]) -> dict[str, str]:
    """Give asked-for grants, each a text by the resource's key; raises InvalidArgument."""
    for untrusted_key, untrusted_value in untrusted_grants.items():
        if untrusted_value.signature != "s":
            raise InvalidArgument(argument=shown(untrusted_key), reason="is not a text (s)")
    return {key: value.value for key, value in untrusted_grants.items()}


def check_action(untrusted_action: str) -> str:
    """Give what Explain is to tell of; raises InvalidArgument."""
    if untrusted_action not in EXPLAINED_ACTIONS:
        reason = f"{shown(untrusted_action)!r} is none of {', '.join(EXPLAINED_ACTIONS)}"
        raise InvalidArgument(argument="action", reason=reason)
    return untrusted_action


def check_signal(untrusted_number: int) -> int:
    """Give a signal number that Linux has (signal(7)); raises InvalidArgument."""
    if not 1 <= untrusted_number <= _SIGNAL_MAX:
        raise InvalidArgument(argument="signal", reason=f"is not between 1 and {_SIGNAL_MAX}")
    return untrusted_number


def parse_options(options_class: type[_Options], untrusted_options: Mapping[str, Variant], fd_count: int) -> _Options:
    """Give the options that a caller sent, absent ones as None; raises InvalidArgument that names the key."""
    model = _model_of(options_class)  # type: ignore[arg-type]  # mypy takes no class for hashable
    # Of several wrong keys the first of the alphabet is told, so that equal calls get equal answers.
    try:
        checked = model.model_validate(dict(untrusted_options), context=fd_count)
    except ValidationError as error:
        first = min(error.errors(include_url=False, include_input=False), key=lambda item: str(item["loc"]))
        raise _invalid(first) from None
    return options_class(**{name: getattr(checked, name) for name in model.model_fields})


def fd_fields(options_class: type[Any]) -> tuple[str, ...]:
    """Give the names of the fields that hold a descriptor."""
    wires = wire_options(options_class)
    return tuple(item.name for item in fields(options_class) if wires[wire_key(item.name)].signature == "h")


def take_fds(options: Any, fds: FdSet) -> dict[str, int]:
    """Take the descriptors that checked options name out of a message; gives owned numbers by field.

    One index may stand in several fields (stdout and stderr): each gets a descriptor of its own. Raises OSError where
    none can be made, and then owns nothing.
    """
    wanted = {name: getattr(options, name) for name in fd_fields(type(options))}
    indices = {name: index for name, index in wanted.items() if index is not None}
    owned: dict[str, int] = {}
    try:
        for name, index in indices.items():
            owned[name] = fds.copy(index)
    except OSError:
        FdSet(owned.values()).close()
        raise
    return owned


def _invalid(item: Any) -> InvalidArgument:
    """Turn pydantic's first complaint into our error; its input never appears, only the key."""
    location = item["loc"]
    key = shown(str(location[0])) if location else "options"
    if item["type"] == "extra_forbidden":
        return InvalidArgument(argument=repr(key), reason="no such option here; your isoctl may be newer than isod")
    cause = item.get("ctx", {}).get("error")
    return InvalidArgument(argument=key, reason=str(cause) if cause else str(item["msg"]))


@functools.cache
def _model_of(options_class: type[Any]) -> type[BaseModel]:
    """Build the model of an option class: each field takes a variant of the declared signature or is absent."""
    wires = wire_options(options_class)
    members: dict[str, Any] = {}
    for item in fields(options_class):
        key = wire_key(item.name)
        rule = _RULES.get(item.name)
        checks: list[Any] = [BeforeValidator(_unwrap(wires[key]))]
        if rule is not None:
            checks.append(AfterValidator(rule))
        members[item.name] = (Annotated[Any, *checks], Field(default=None, alias=key))
    return create_model(
        f"{options_class.__name__}Request",
        __config__=ConfigDict(frozen=True, extra="forbid", strict=True),
        **members,
    )


def _unwrap(wire: Wire) -> Callable[[Any, ValidationInfo], Any]:
    """Make the check that a value is a variant of exactly the declared signature; gives what is in it."""

    def unwrap(untrusted_value: Any, info: ValidationInfo) -> Any:
        if not isinstance(untrusted_value, Variant) or untrusted_value.signature != wire.signature:
            raise ValueError(f"must be of D-Bus type {wire.signature!r}")
        value = untrusted_value.value
        if wire.signature == "h":
            # Negative ones too: to a Python list, -1 is a valid index.
            if not 0 <= value < info.context:
                raise ValueError("names a file descriptor that the message does not have")
            return value
        return tuple(value) if wire.signature == "as" else value

    return unwrap


def _assignments(untrusted_entries: tuple[str, ...]) -> tuple[str, ...]:
    if len(untrusted_entries) > limits.ENVIRONMENT_ENTRIES_MAX:
        raise ValueError(f"more than {limits.ENVIRONMENT_ENTRIES_MAX} entries")
    for position, entry in enumerate(untrusted_entries):
        name, equals, value = entry.partition("=")
        if not equals or not _VARIABLE.fullmatch(name):
            raise ValueError(f"entry {position} is not NAME=VALUE with a NAME of letters, digits and _")
        if "\0" in value:
            raise ValueError(f"entry {position} has a NUL character")
        if len(value.encode()) > limits.ENVIRONMENT_VALUE_BYTES_MAX:
            raise ValueError(f"entry {position} is longer than {limits.ENVIRONMENT_VALUE_BYTES_MAX} bytes")
    return untrusted_entries


def _hints(untrusted_entries: tuple[str, ...]) -> tuple[str, ...]:
    """Keep what is allowed and well-formed: hints come from an environment that the user need not know."""
    return tuple(entry for entry in untrusted_entries[: limits.HINT_ENTRIES_MAX] if _is_hint(entry))


def _more_hints(untrusted_entries: tuple[str, ...]) -> tuple[str, ...]:
    """Keep what is well-formed; whether it is allowed says the container's policy."""
    entries = (entry.partition("=") for entry in untrusted_entries[: limits.POLICY_HINTS_MAX])
    return tuple(f"{name}={value}" for name, equals, value in entries if equals and _is_hint_value(name, value))


def _host_paths(untrusted_names: tuple[str, ...]) -> tuple[str, ...]:
    return untrusted_names[: limits.ENVIRONMENT_ENTRIES_MAX]


def _is_hint(entry: str) -> bool:
    name, equals, value = entry.partition("=")
    return bool(equals) and name in HINT_NAMES and _is_hint_value(name, value)


def _is_hint_value(name: str, value: str) -> bool:
    is_short = len(value.encode()) <= limits.HINT_VALUE_BYTES_MAX
    return is_short and bool(_VARIABLE.fullmatch(name)) and _PRINTABLE.fullmatch(value) is not None


def _directory(untrusted_path: str) -> str:
    """Give an absolute path, or one below the home as `~/...`, without empty and `.` parts."""
    home = untrusted_path == "~" or untrusted_path.startswith("~/")
    if not home and not untrusted_path.startswith("/"):
        raise ValueError("is neither absolute nor begins with ~/")
    if "\0" in untrusted_path or len(untrusted_path.encode()) > limits.PATH_BYTES_MAX:
        raise ValueError(f"has a NUL character or is longer than {limits.PATH_BYTES_MAX} bytes")
    parts = [part for part in untrusted_path.split("/") if part not in {"", "."}]
    if ".." in parts:
        # With symlinks inside the container `a/..` is not where it looks to be.
        raise ValueError("has a .. in it")
    return "/".join(parts) if home else "/" + "/".join(parts)


def _via(untrusted_claim: Mapping[str, Variant]) -> Mapping[str, Any]:
    signatures = {"pid": "u", "unit": "s"}
    for key, value in untrusted_claim.items():
        if signatures.get(key) != value.signature:
            raise ValueError("may hold pid (u) and unit (s)")
    claim = {key: value.value for key, value in untrusted_claim.items()}
    unit = claim.get("unit", "")
    if len(unit) > _UNIT_CHARS_MAX or not _PRINTABLE.fullmatch(unit):
        raise ValueError("unit is not the name of a unit")
    return claim


def _exposed(untrusted_names: tuple[str, ...]) -> tuple[str, ...]:
    if len(untrusted_names) > limits.EXPOSED_ENTRIES_MAX or not all(map(_INTERFACE.fullmatch, untrusted_names)):
        raise ValueError(f"is not at most {limits.EXPOSED_ENTRIES_MAX} names of Wayland interfaces")
    return untrusted_names


def _cookie(untrusted_bytes: bytes) -> bytes:
    if not 0 < len(untrusted_bytes) <= limits.X11_COOKIE_BYTES_MAX:
        raise ValueError(f"is not 1 to {limits.X11_COOKIE_BYTES_MAX} bytes")
    return untrusted_bytes


def _only(test: Callable[[str], bool], reason: str) -> Callable[[str], str]:
    def check(untrusted_text: str) -> str:
        if not test(untrusted_text):
            raise ValueError(reason)
        return untrusted_text

    return check


def _between(least: int, most: int) -> Callable[[int], int]:
    def check(untrusted_number: int) -> int:
        if not least <= untrusted_number <= most:
            raise ValueError(f"is not between {least} and {most}")
        return untrusted_number

    return check


# By field, wherever it occurs; every field of which the wire type says too little is here.
_RULES: dict[str, Callable[[Any], Any]] = {
    "rows": _between(1, 0xFFFF),
    "columns": _between(1, 0xFFFF),
    "pixel_height": _between(1, 0xFFFF),
    "pixel_width": _between(1, 0xFFFF),
    "environment": _assignments,
    "hints": _hints,
    "more_hints": _more_hints,
    "host_paths": _host_paths,
    "directory": _directory,
    "user": _only(is_account_name, "is not the name of an account"),
    "display": _only(DISPLAY_MODES.__contains__, f"is none of {', '.join(DISPLAY_MODES)}"),
    "id": _only(is_app_id, "is not 32 lower-case hexadecimal digits"),
    "app": _only(is_app_id, "is not 32 lower-case hexadecimal digits"),
    "container": _only(is_container_name, "is not the name of a container"),
    "via": _via,
    "lines": _between(0, limits.LOG_LINES_MAX),
    "limit": _between(1, limits.HISTORY_RECORDS_MAX),
    "wayland": _only(WAYLAND_MODES.__contains__, f"is none of {', '.join(WAYLAND_MODES)}"),
    "exposed": _exposed,
    "socket_name": _only(lambda text: _SOCKET_NAME.fullmatch(text) is not None, "is not a name in a directory"),
    "x11_socket_name": _only(is_x11_name, "is not the name of an X server's socket"),
    "x11_cookie": _cookie,
    "session": _only(lambda text: _SESSION_ID.fullmatch(text) is not None, "is not an id of logind"),
}
