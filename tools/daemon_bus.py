"""The files of D-Bus, polkit and journald that follow from the contract."""

from xml.sax.saxutils import escape, quoteattr

from isod_contract import names
from isod_contract.actions import ACTIONS
from isod_contract.methods import METHODS
from isod_contract.records import RECORDS

_STANDARD = (
    (names.PROPERTIES, "Get"),
    (names.PROPERTIES, "GetAll"),
    (names.INTROSPECTABLE, "Introspect"),
    (names.PEER, "Ping"),
)
# systemd-units/sysusers.d makes it.
_GROUP = "isoctl"
_CONF = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<!-- Made by tools/generate_daemon.py: what is not listed is refused by the bus, before isod sees it. -->
<busconfig>
  <policy user="root">
    <allow own="{name}"/>
    <!-- Also for systemd's signals to isod: the rule below would have them dropped, without a word. -->
    <allow send_destination="{name}"/>
  </policy>
  <policy context="default">
    <deny send_destination="{name}"/>
{rules}  </policy>
</busconfig>
"""
_GROUP_CONF = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<!-- Made by tools/generate_daemon.py. In /etc/dbus-1/system.d, which the bus reads after the packages' own files, this
     keeps the calls of everybody but root and the members of one group from ever reaching isod. Whom policy admits to
     a container must then be in that group. -->
<busconfig>
  <policy context="default">
    <deny send_destination="{name}"/>
  </policy>
  <policy group="{group}">
{rules}  </policy>
</busconfig>
"""
_RULE = """\
    <allow send_destination="{name}" send_type="method_call"
           send_interface="{interface}" send_member="{member}"/>
"""
_POLICY = """\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE policyconfig PUBLIC "-//freedesktop//DTD PolicyKit Policy Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/PolicyKit/1/policyconfig.dtd">
<!-- Made by tools/generate_daemon.py. -->
<policyconfig>
{actions}</policyconfig>
"""
_ACTION = """\
  <action id={id}>
    <description>{description}</description>
    <message>{message}</message>
    <defaults>
      <allow_any>{any}</allow_any>
      <allow_inactive>{inactive}</allow_inactive>
      <allow_active>{active}</allow_active>
    </defaults>
  </action>
"""


def bus_policy() -> str:
    """Give the system bus's policy: deny by default, one rule a method, no send_path since objects come and go."""
    return _CONF.format(name=names.BUS_NAME, rules=_rules())


def group_bus_policy() -> str:
    """Give what an administrator may add to it: only one group's calls reach isod."""
    return _GROUP_CONF.format(name=names.BUS_NAME, group=_GROUP, rules=_rules())


def _rules() -> str:
    members = [(method.interface, method.name) for method in METHODS]
    return "".join(
        _RULE.format(name=names.BUS_NAME, interface=interface, member=member)
        for interface, member in (*members, *_STANDARD)
    )


def polkit_policy() -> str:
    """Give polkit's actions (polkit(8), "Declaring Actions")."""
    actions = (
        _ACTION.format(
            id=quoteattr(action.id),
            description=escape(action.description),
            message=escape(action.message),
            any=action.allow_any,
            inactive=action.allow_inactive,
            active=action.allow_active,
        )
        for action in ACTIONS
    )
    return _POLICY.format(actions="".join(actions))


def catalog() -> str:
    """Give the message catalog (systemd's CATALOG document); `journalctl -x` shows it below each record."""
    head = "# Made by tools/generate_daemon.py.\n"
    entries = (
        f"\n-- {record.message_id}\nSubject: {record.message}\nDefined-By: isod\nDocumentation: man:isod(8)\n\n"
        f"{record.explanation}\n"
        for record in RECORDS
    )
    return head + "".join(entries)
