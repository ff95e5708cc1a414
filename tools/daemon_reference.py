"""docs/api.md: the interface on the bus, for whoever writes a client."""

from collections.abc import Iterable
from typing import Any

from isod_contract import names
from isod_contract.actions import ACTIONS
from isod_contract.errors import PREFIX, IsodError
from isod_contract.methods import METHODS, PROPERTIES, SESSION_METHODS, SIGNALS, Access, Arg, Method
from isod_contract.options import wire_options
from isod_contract.records import HISTORY_FIELDS, RECORDS
from isod_contract.states import AppState, ContainerState

_HEAD = f"""\
<!-- Made by tools/generate_daemon.py. -->
# The interface of isod

Bus name `{names.BUS_NAME}`, on the system bus by isod and, with the same objects, on each user's session bus by
isod-session. The root object is `{names.ROOT_PATH}`; containers are `{names.CONTAINER_PATH_PREFIX}NAME`, where each
character other than a letter or digit is written `_xx`; apps are `{names.APP_PATH_PREFIX}ID`.

Names and signatures never change. New options are new keys in `a{{sv}}`; an unknown key is refused by name, so send
only what was asked for. What a caller may not see does not exist for it, and the error is the same for both.

Signals on the system bus are sent to one receiver each: to those that called `Subscribe`, and those of an app to the
sender of its `Run`. Nobody else gets them, so a match rule alone does not help there.
"""
_SESSION_HEAD = f"""
## {names.SESSION}

Of isod-session itself, at `{names.SESSION_PATH}` on the session bus, for its own user.
"""
_ACCESS = {
    Access.ANYONE: "anyone",
    Access.SEE: "who may see the container",
    Access.USE: "who may use the container; the answer of polkit, where policy wants one, comes after the reply",
    Access.GRANT: "who may use the container, after polkit `org.isoctl1.grant`",
    Access.MANAGE: "who may use the container; with another user's app in it only by `force` and polkit",
    Access.OWN: "the app's owner",
    Access.ADMIN: "polkit's org.isoctl1.manage",
    Access.SESSION: "any user, for themselves; not on the session bus",
    Access.DISPLAY: "the caller's registered isod-session, for a container that they may see; not on the session bus",
}


def reference() -> str:
    """Give the whole document."""
    parts = [_HEAD]
    for interface in (names.MANAGER, names.CONTAINER, names.APP):
        parts += [f"\n## {interface}\n", *_methods(interface), *_properties(interface), *_signals(interface)]
    parts += [_SESSION_HEAD, *map(_method, SESSION_METHODS)]
    states = ", ".join(f"`{state}`" for state in ContainerState), ", ".join(f"`{state}`" for state in AppState)
    parts.append(f"\n## States\n\nOf a container: {states[0]}.\n\nOf an app, in order: {states[1]}.\n")
    return "".join([*parts, _errors(), _actions(), _records()])


def _methods(interface: str) -> Iterable[str]:
    for method in (item for item in METHODS if item.interface == interface):
        yield f"{_method(method)}\nFor: {_ACCESS[method.access]}; root.\n"
        if method.options is not None:
            yield _options(method.options)


def _method(method: Method) -> str:
    return f"\n### {method.name}({_arguments(method.args)}){_result(method)}\n\n{method.doc}\n"


def _result(method: Method) -> str:
    return f" -> {_arguments(method.returns)}" if method.returns else ""


def _arguments(args: Iterable[Arg]) -> str:
    return ", ".join(f"{arg.signature} {arg.name}" for arg in args)


def _options(options_class: type[Any]) -> str:
    rows = (
        f"| `{key}` | `{wire.signature}` | {_cell(wire.doc)} |\n" for key, wire in wire_options(options_class).items()
    )
    return "\n| key | type | meaning |\n|---|---|---|\n" + "".join(rows)


def _properties(interface: str) -> Iterable[str]:
    own = [item for item in PROPERTIES if item.interface == interface]
    yield "\n### Properties\n\nRead-only.\n\n| name | type | meaning | changes are told |\n|---|---|---|---|\n"
    for item in own:
        yield f"| `{item.name}` | `{item.signature}` | {_cell(item.doc)} | {'yes' if item.emits else 'no'} |\n"


def _signals(interface: str) -> Iterable[str]:
    for signal in (item for item in SIGNALS if item.interface == interface):
        yield f"\n### signal {signal.name}({_arguments(signal.args)})\n\n{signal.doc}\n"


def _errors() -> str:
    rows = (
        f"| `{name}` | {_cell(error.__doc__ or '')} | {error.exit_code} |\n"
        for name, error in sorted(IsodError.registry.items())
    )
    return (
        f"\n## Errors\n\nNames begin with `{PREFIX}`. The last column is the exit code of `isoctl`, except for\n"
        "`run` and `shell`, which give 125 for every error of isod. A call that D-Bus itself has an error for (no\n"
        "such method, arguments of another type, `Properties.Set`) gets that one.\n\n"
        "| name | when | code |\n|---|---|---|\n" + "".join(rows)
    )


def _actions() -> str:
    rows = (f"| `{item.id}` | {_cell(item.description)} | {item.allow_active} |\n" for item in ACTIONS)
    return "\n## polkit actions\n\n| action | asked for | default for an active session |\n|---|---|---|\n" + "".join(
        rows
    )


def _records() -> str:
    rows = (f"| {item.name} | `{item.message_id}` | {_cell(item.explanation)} |\n" for item in RECORDS)
    fields = "".join(f"| `{name}` | `{signature}` |\n" for name, signature in HISTORY_FIELDS.items())
    return (
        "\n## Audit records\n\nIn the journal, with fields `ISOCTL_*`; `History` gives them by these names, and leaves"
        f" out what a record lacks.\n\n| field | type |\n|---|---|\n{fields}"
        "\n| kind | MESSAGE_ID | fact |\n|---|---|---|\n" + "".join(rows)
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
