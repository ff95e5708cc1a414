"""What the user's live session is, as variables: those that apps in containers may need to reach it."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from isod_contract import limits
from isod_contract.options import HINT_NAMES
from isod_wire import Connection, Variant, WireError

SYSTEMD = "org.freedesktop.systemd1"
SYSTEMD_PATH = "/org/freedesktop/systemd1"
SYSTEMD_MANAGER = SYSTEMD + ".Manager"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_TIMEOUT_SEC = 2.0  # a launch waits for this

# Of one terminal or one start of a program, not of the session.
_PER_CALL = frozenset({"TERM", "COLORTERM", "NO_COLOR", "XDG_ACTIVATION_TOKEN", "DESKTOP_STARTUP_ID"})
# For this service alone: a path of the host.
OWN_NAMES = frozenset({"XAUTHORITY"})
_OF_SESSION = frozenset({"XDG_SESSION_TYPE", "XDG_CURRENT_DESKTOP", "XCURSOR_THEME", "XCURSOR_SIZE"})
NAMES = (HINT_NAMES - _PER_CALL) | _OF_SESSION | OWN_NAMES


def session_environment(own: Mapping[str, str], manager: Iterable[str]) -> tuple[str, ...]:
    """Give the session's variables as sorted NAME=VALUE.

    `own` is this process's environment, as old as the process; `manager` is the user manager's block (NAME=VALUE),
    which compositors bring up to date, so it wins. What isod would refuse is left out.
    """
    block = dict(own)
    for entry in manager:
        name, equals, value = entry.partition("=")
        if equals:
            block[name] = value
    return tuple(f"{name}={block[name]}" for name in sorted(NAMES & block.keys()) if _is_fit(block[name]))


def initial_environment() -> dict[str, str]:
    """Give the variables that this process was started with.

    Not os.environ: in the C locale Python adds an LC_CTYPE of its own to it (PEP 538), which is none of the user's.
    """
    block = Path("/proc/self/environ").read_bytes()
    pairs = (entry.decode(errors="surrogateescape").partition("=") for entry in block.split(b"\0"))
    return {name: value for name, equals, value in pairs if equals}


async def read_environment(session_bus: Connection, own: Mapping[str, str]) -> tuple[str, ...]:
    """Give the variables of the live session; without a user manager `own`, those of this process."""
    try:
        with await session_bus.call(
            SYSTEMD,
            SYSTEMD_PATH,
            _PROPERTIES,
            "Get",
            "ss",
            (SYSTEMD_MANAGER, "Environment"),
            timeout_sec=_TIMEOUT_SEC,
            expect="v",
        ) as reply:
            block = reply.body[0]
    except WireError:
        block = None
    entries = block.value if isinstance(block, Variant) and block.signature == "as" else []
    return session_environment(own, entries)


def _is_fit(value: str) -> bool:
    # Bytes that are not UTF-8 are surrogates here, which are not printable either.
    return bool(value) and value.isprintable() and len(value.encode()) <= limits.HINT_VALUE_BYTES_MAX
