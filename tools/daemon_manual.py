"""The manual pages isod(8) and isod.toml(5); the second from the descriptions in the models of policy and settings."""

import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from isod.policy import ContainerPolicy
from isod.resources import kinds
from isod.settings import DaemonSettings, Limits
from isod_contract import VERSION, limits
from isod_contract.records import RECORDS
from isod_contract.versions import FLOOR

_ISOD_8 = """\
.\\" Made by tools/generate_daemon.py.
.TH ISOD 8 "" "isoctl {version}" "System Administration"
.SH NAME
isod \\- run apps in systemd\\-nspawn containers for the users of a host
.SH SYNOPSIS
.SY isod
.YS
.SY isod
.B \\-\\-check
.RI [ DIRECTORY ]
.YS
.SY isod
.B \\-\\-version
.YS
.SH DESCRIPTION
isod decides who may start, enter and stop which container, prepares the container and starts apps in it. Users reach
it with
.BR isoctl (1)
or any D\\-Bus client, as
.B org.isoctl1
on the system bus. Policy, in
.BR isod.toml (5),
says what users may do. Apps go on while isod is stopped or restarted, and isod tells their exit codes afterwards.
.SH OPTIONS
.TP
.BR \\-\\-check " [\\fIDIRECTORY\\fR]"
Read the policy files, say what is wrong in which line, and exit: 0 if nothing is. Without a directory: /etc/isod.
.TP
.B \\-\\-version
Print the version.
.SH FILES
.TP
.I /etc/isod/isod.toml
Defaults, limits, ceiling.
.TP
.I /etc/isod/containers/NAME.toml
Policy of the container NAME. Without it the container does not exist for ordinary users.
.TP
.I /run/isod
Root's records of running apps, and what is bound into containers.
.TP
.I org.isoctl1-group.conf
An example, below share/doc/isoctl. In /etc/dbus-1/system.d it has the bus refuse all calls but those of root and the
group isoctl. Whoever may use a container must then be a member of that group.
.SH SANDBOX
.B systemd-analyze security isod.service
shows it. isod-session, a unit of each user's systemd, needs user namespaces for its own. On a host that forbids them
to users, put isod-session-without-user-namespaces.conf, among the examples of the documentation, in
/etc/systemd/user/isod-session.service.d; without that it does not start, and apps have no display.
.PP
X servers of containers run in a sandbox each (isoctl\\-x11\\-NAME.service of the user's systemd): no home, no
network, no other process, no device but those that the container is granted. Where the user's systemd can't make it,
isod has the host's run it for the user (isoctl\\-x11\\-UID\\-NAME.service), until the user logs out. Without its
sandbox none runs, and
.B journalctl \\-\\-user \\-u isod\\-session
says why.
.SH AUDIT
Every decision, launch and exit is one record in the journal, with a MESSAGE_ID and fields ISOCTL_*. A text that came
from a user stands in a field of its own and has its control characters escaped; of environment variables only names are
kept. At most one refusal a second is recorded of each user; ISOCTL_SUPPRESSED counts those left out before it.
.PP
.EX
journalctl \\-u isod ISOCTL_CONTAINER=blog ISOCTL_KIND=launch
.EE
.PP
Users read their own records with
.BR "isoctl history" .
.PP
{records}.SH SIGNALS
.TP
.BR SIGTERM ", " SIGINT
End. Apps and containers live on.
.TP
.B SIGUSR1
Write one record "daemon.counters" to the log. It counts the file descriptors and tasks that isod holds, the
containers that it is connected to, the apps that run, and the sockets that it listens on for containers.
ISOCTL_TURN_MS is the longest time in which it answered nobody since the last such record, and ISOCTL_TURN_BUSY_MS is
how much of that it spent on a processor.
.IP
.EX
systemctl kill \\-s USR1 isod
journalctl \\-u isod ISOCTL_EVENT=daemon.counters
.EE
.SH EXIT STATUS
0 after SIGTERM. 69 if something that it needs is missing or too old: {floor}; the log says which. 75 if the system
bus was lost; systemd then starts it again. With
.BR \\-\\-check ,
1 if a file is refused.
.SH SEE ALSO
.BR isoctl (1),
.BR isod.toml (5),
.BR systemd\\-nspawn (1),
.BR polkit (8)
"""
_TOML_5_HEAD = """\
.\\" Made by tools/generate_daemon.py.
.TH ISOD.TOML 5 "" "isoctl {version}" "File Formats"
.SH NAME
isod.toml, containers/NAME.toml \\- who may use which container, and what of the host it gets
.SH SYNOPSIS
.I /etc/isod/isod.toml
.br
.I /etc/isod/containers/NAME.toml
.SH DESCRIPTION
Policy is TOML. The files must belong to root, and nobody else may be able to write them. isod refuses a file with a
mistake or an unknown key, and names the line; what it read of that file last stays in force. After a change,
.B "isoctl reload \\-\\-dry\\-run"
shows what would end, and
.B isoctl reload
has isod read all files again.
.PP
No key is about a container's network, user namespace or directories of the host: those are systemd-nspawn's, in
/etc/systemd/nspawn/NAME.nspawn
.RB ( systemd.nspawn (5)).
.PP
One line is a whole file:
.PP
.EX
users = ["alice"]
.EE
"""
_TOML_5_TAIL = """\
.SH SEE ALSO
.BR isod (8),
.BR isoctl (1)
"""


def isod_8() -> str:
    """Give isod(8) in man(7) macros."""
    records = "".join(f".TP\n.B {_escape(item.name)}\n{_escape(item.explanation)}\n" for item in RECORDS)
    needed = [f"{name} {'.'.join(map(str, version))}" for name, version in FLOOR.items()]
    floor = f"{', '.join(needed[:-1])} or {needed[-1]}"
    return _ISOD_8.format(version=VERSION, records=records, floor=_escape(floor))


def isod_toml_5() -> str:
    """Give isod.toml(5) in man(7) macros."""
    return "".join(
        [
            _TOML_5_HEAD.format(version=VERSION),
            ".SH KEYS OF A CONTAINER\n",
            *_keys(ContainerPolicy, skip={"grants"}),
            ".SH [grants]\nA level for each kind of resource of the host.\n",
            *_grants(),
            ".SH KEYS OF ISOD.TOML\n",
            *_keys(DaemonSettings, skip={"limits"}),
            ".SH [limits]\n",
            *_keys(Limits),
            _shared_limits(),
            _TOML_5_TAIL,
        ]
    )


def _keys(model: type[BaseModel], skip: Iterable[str] = ()) -> Iterable[str]:
    for name, field in model.model_fields.items():
        if name not in skip:
            text = field.description or ""
            default = _default(field.get_default(call_default_factory=True))
            # where what happens without a value is no value itself, the text says it
            if not default and "By default" not in text:
                default = "default none"
            yield _entry(name, default, text)


def _grants() -> Iterable[str]:
    for key, kind in kinds().items():
        yield _entry(key, f'default "{kind.default}"', f"{kind.choices()}. {kind.doc}")


def _entry(name: str, note: str, text: str) -> str:
    suffix = f" ({_escape(note)})" if note else ""
    return f".TP\n.BR {_escape(name)}{_quoted(suffix)}\n{_escape(text)}\n"


def _quoted(text: str) -> str:
    return ' "' + text.replace('"', '""') + '"' if text else ""


def _default(value: Any) -> str:
    match value:
        case bool():
            return f"default {str(value).lower()}"
        case int() | str():
            return f"default {value}"
    return ""


def _escape(text: str) -> str:
    """Keep text from being read as a macro or as typography."""
    text = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^(?=[.'])", r"\\&", text)


def _shared_limits() -> str:
    """Give the paragraph on what all users have together."""
    most, reserved, few = limits.ATTACHED_APPS_MAX, limits.ATTACHED_APPS_RESERVED, limits.ATTACHED_APPS_FEW
    return (
        f".PP\nOf all users together {most} apps that end with their callers may run, and {reserved}\n"
        f"more of users who have fewer than {few}. Detached ones (\\-\\-detach) do not count.\n"
    )
