"""Write what follows from the contract: bus policy, polkit actions, introspection XML, journal catalog, reference.

`--check` writes nothing and fails if a checked-in file differs from what would be written.
"""

import sys
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "daemon"))

from generated_files import update  # noqa: E402 - the path comes first
from isod_contract import actions, errors, methods, names, records  # noqa: E402 - the path comes first

_BUS_DTD = (
    '<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"\n'
    ' "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">\n'
)
_POLKIT_DTD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<!DOCTYPE policyconfig PUBLIC "-//freedesktop//DTD PolicyKit Policy Configuration 1.0//EN"\n'
    ' "http://www.freedesktop.org/standards/PolicyKit/1/policyconfig.dtd">\n'
)
_NODE_DTD = (
    '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"\n'
    ' "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">\n'
)
_MADE = "made by tools/generate_daemon.py, not by hand"
_STANDARD = (
    (names.PROPERTIES, "Get"),
    (names.PROPERTIES, "GetAll"),
    (names.INTROSPECTABLE, "Introspect"),
    (names.PEER, "Ping"),
)


def bus_policy() -> str:
    """Give the system bus policy: nothing is allowed but what is listed."""
    listed = [(method.interface, method.name) for method in methods.METHODS] + list(_STANDARD)
    lines = [
        f'    <allow send_destination="{names.BUS_NAME}" send_type="method_call"\n'
        f'           send_interface="{interface}" send_member="{member}"/>\n'
        for interface, member in listed
    ]
    return (
        f"{_BUS_DTD}<!-- {_MADE} -->\n<busconfig>\n"
        "  <!-- root must be able to send: else systemd's own signals to isod are dropped without a word -->\n"
        f'  <policy user="root">\n    <allow own="{names.BUS_NAME}"/>\n'
        f'    <allow send_destination="{names.BUS_NAME}"/>\n  </policy>\n'
        f'  <policy context="default">\n    <deny send_destination="{names.BUS_NAME}"/>\n'
        f"{''.join(lines)}  </policy>\n</busconfig>\n"
    )


def polkit_policy() -> str:
    """Give the polkit actions (polkit(8))."""
    parts = [
        f'  <action id="{action.id}">\n    <description>{escape(action.description)}</description>\n'
        f"    <message>{escape(action.message)}</message>\n    <defaults>\n"
        f"      <allow_any>{action.allow_any}</allow_any>\n"
        f"      <allow_inactive>{action.allow_inactive}</allow_inactive>\n"
        f"      <allow_active>{action.allow_active}</allow_active>\n    </defaults>\n  </action>\n"
        for action in actions.ACTIONS
    ]
    return f"{_POLKIT_DTD}<!-- {_MADE} -->\n<policyconfig>\n{''.join(parts)}</policyconfig>\n"


def introspection() -> str:
    """Give the three interfaces as introspection XML."""
    parts = []
    for interface in (names.MANAGER, names.CONTAINER, names.APP):
        lines = [f'  <interface name="{interface}">\n']
        for method in (item for item in methods.METHODS if item.interface == interface):
            lines.append(f'    <!-- {escape(method.doc)} -->\n    <method name="{method.name}">\n')
            lines += [f'      <arg name="{arg.name}" type="{arg.signature}" direction="in"/>\n' for arg in method.args]
            lines += [
                f'      <arg name="{arg.name}" type="{arg.signature}" direction="out"/>\n' for arg in method.returns
            ]
            lines.append("    </method>\n")
        for signal in (item for item in methods.SIGNALS if item.interface == interface):
            lines.append(f'    <!-- {escape(signal.doc)} -->\n    <signal name="{signal.name}">\n')
            lines += [f'      <arg name="{arg.name}" type="{arg.signature}"/>\n' for arg in signal.args]
            lines.append("    </signal>\n")
        for item in (item for item in methods.PROPERTIES if item.interface == interface):
            lines.append(
                f"    <!-- {escape(item.doc)} -->\n"
                f'    <property name="{item.name}" type="{item.signature}" access="read"/>\n'
            )
        parts.append("".join([*lines, "  </interface>\n"]))
    return f"{_NODE_DTD}<!-- {_MADE} -->\n<node>\n{''.join(parts)}</node>\n"


def catalog() -> str:
    """Give the journal's message catalog (journalctl -x)."""
    parts = [
        f"-- {item.message_id}\nSubject: {item.message}\nDefined-By: isod\n\n{item.explanation}\n"
        for item in records.RECORDS
    ]
    return f"# {_MADE}\n\n" + "\n".join(parts)


def reference() -> str:
    """Give docs/api.md."""
    lines = ["# D-Bus interface", "", f"<!-- {_MADE} -->", ""]
    for interface in (names.MANAGER, names.CONTAINER, names.APP):
        lines += [f"## {interface}", "", "| Method | Who | What |", "|---|---|---|"]
        for method in (item for item in methods.METHODS if item.interface == interface):
            arrow = " -> " if method.returns else ""
            arguments = ", ".join(f"{arg.signature} {arg.name}" for arg in method.args)
            returns = ", ".join(f"{arg.signature} {arg.name}" for arg in method.returns)
            lines.append(f"| `{method.name}({arguments}){arrow}{returns}` | {method.access} | {method.doc} |")
        lines += ["", "| Property | Type | What |", "|---|---|---|"]
        lines += [f"| {p.name} | `{p.signature}` | {p.doc} |" for p in methods.PROPERTIES if p.interface == interface]
        lines.append("")
    lines += ["## Errors", "", "| Name | Exit code of isoctl | When |", "|---|---|---|"]
    for name, error in sorted(errors.IsodError.registry.items()):
        lines.append(f"| `{errors.PREFIX}{name}` | {error.exit_code} | {(error.__doc__ or '').splitlines()[0]} |")
    return "\n".join(lines) + "\n"


FILES = {
    "dbus-policy/org.isoctl1.conf": bus_policy,
    "dbus-policy/org.isoctl1.policy": polkit_policy,
    "dbus-policy/org.isoctl1.xml": introspection,
    "systemd-units/isod.catalog": catalog,
    "docs/api.md": reference,
}


def main(arguments: list[str]) -> int:
    """Generate, or check with `--check`; 1 if a check found a difference."""
    check = arguments == ["--check"]
    return 0 if update(FILES, check=check) or not check else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
