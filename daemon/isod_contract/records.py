"""Audit records: one kind per fact, with a fixed journald MESSAGE_ID and sentence; the catalog is generated from it."""

from typing import NamedTuple


class Record(NamedTuple):
    """One kind of audit record (systemd.journal-fields(7), MESSAGE_ID=)."""

    name: str
    message_id: str
    message: str
    explanation: str


DECISION = Record(
    "decision",
    "0df276c167884b8292ff0faaa98e3ce6",
    "isod decided on a request",
    "ISOCTL_METHOD was asked for by ISOCTL_UID; ISOCTL_OUTCOME says allowed or refused, ISOCTL_RULE by what.",
)
LAUNCH = Record(
    "launch",
    "14a82fdbf8424c92adf70dbe337c660c",
    "isod started an app in a container",
    "The app ISOCTL_APP runs ISOCTL_ARGV (JSON) in ISOCTL_CONTAINER for ISOCTL_UID.",
)
EXIT = Record(
    "exit",
    "58b64dc63c79421694018e276b9c1cce",
    "an app in a container ended",
    "The app ISOCTL_APP ended; ISOCTL_EXIT_CODE (-1: unknown), ISOCTL_EXIT_SIGNAL, ISOCTL_ERROR say how.",
)
CONTAINER_START = Record(
    "container-start",
    "f67083533ab44d1689baf8c0e38c9519",
    "isod started a container",
    "The container ISOCTL_CONTAINER was started on behalf of ISOCTL_UID.",
)
CONTAINER_STOP = Record(
    "container-stop",
    "56ffd401d8d34da28816a542fc84f63c",
    "isod stopped a container",
    "The container ISOCTL_CONTAINER was stopped on behalf of ISOCTL_UID.",
)
ATTACH = Record(
    "attach",
    "988a0b4d21b9466db875895b710e57c6",
    "isod attached a resource to a container",
    "The resource ISOCTL_RESOURCE became reachable in ISOCTL_CONTAINER.",
)
DETACH = Record(
    "detach",
    "fbb1234c45f4446fb61f9d62b4c0c452",
    "isod detached a resource from a container",
    "The resource ISOCTL_RESOURCE is no longer reachable in ISOCTL_CONTAINER.",
)
POLICY = Record(
    "policy",
    "754259466a614f7c8a248d6167f896e8",
    "isod loaded its policy",
    "ISOCTL_OUTCOME says loaded or refused; ISOCTL_ERROR names file and line of a refused one.",
)
SESSION = Record(
    "session",
    "f88bfffe55204262a906b91c364ca271",
    "a user's session was registered or ended",
    "The session service of ISOCTL_UID registered or left; ISOCTL_OUTCOME says which.",
)
SESSION_END = Record(
    "session-end",
    "6a42ae2fb4804bafa0e09a177e9f7ff8",
    "isod ended a session in a container",
    "Policy no longer admits anybody as ISOCTL_ACCOUNT in ISOCTL_CONTAINER: the session ISOCTL_UNIT inside ends.",
)

RECORDS = (DECISION, LAUNCH, EXIT, CONTAINER_START, CONTAINER_STOP, ATTACH, DETACH, POLICY, SESSION, SESSION_END)

HISTORY_FIELDS = {
    "time_usec": "t",
    "kind": "s",
    "uid": "u",
    "method": "s",
    "container": "s",
    "app": "s",
    "argv": "as",
    "outcome": "s",
    "rule": "s",
    "error": "s",
    "exit_code": "i",
    "exit_signal": "i",
    "duration_usec": "t",
}
"""What `Manager.History` tells of a record, with D-Bus types; a field that the record lacks is absent."""
