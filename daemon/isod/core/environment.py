"""The environment of an app, low to high: session, hints, policy, the user's own, and what is isod's alone."""

from collections.abc import Iterable, Mapping

from isod.ports import Account

# Pointers into the host: meaningless or dangerous inside; an attached resource sets its own value instead.
_HOST_ONLY = frozenset({"WAYLAND_DISPLAY", "DISPLAY", "XDG_SESSION_ID"})


def assemble(
    *,
    session: Mapping[str, str],
    hints: Iterable[str],
    policy: Mapping[str, str],
    asked: Iterable[str],
    account: Account,
    terminal: bool,
) -> dict[str, str]:
    """Give all variables that isod sets over the login profile; entries are NAME=VALUE, already checked."""
    result: dict[str, str] = {}
    given = dict(entry.split("=", 1) for entry in hints)
    for source in (session, given):
        result.update({name: value for name, value in source.items() if name not in _HOST_ONLY})
    if not terminal:
        result.pop("TERM", None)
    else:
        result.setdefault("TERM", "xterm")
    result.update(policy)
    result.update(dict(entry.split("=", 1) for entry in asked))
    runtime = f"/run/user/{account.uid}"
    result["XDG_RUNTIME_DIR"] = runtime
    result["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={runtime}/bus"
    return result
