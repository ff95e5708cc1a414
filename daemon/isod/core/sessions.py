"""Users' live sessions, as their isod-session services say they are; believed for that user only."""

from isod.ports import AuditSink, Caller
from isod_contract.options import HINT_NAMES, SessionInfo
from isod_contract.records import SESSION

_NAMES = HINT_NAMES | {"XDG_SESSION_TYPE", "XDG_CURRENT_DESKTOP", "XCURSOR_THEME", "XCURSOR_SIZE"}


class Sessions:
    """The newest registered session of each uid, for as long as its bus name lives."""

    def __init__(self, audit: AuditSink) -> None:
        """Take the audit."""
        self._audit = audit
        self._by_uid: dict[int, tuple[str, dict[str, str]]] = {}

    def register(self, caller: Caller, session: SessionInfo) -> None:
        """Take note of the sender's live session; it replaces an older one of the uid."""
        pairs = (entry.partition("=") for entry in session.environment or ())
        self._by_uid[caller.uid] = (caller.sender, {name: value for name, _, value in pairs if name in _NAMES})
        self._audit.record(SESSION, uid=caller.uid, pid=caller.pid, outcome="registered")

    def forget(self, sender: str) -> None:
        """Take note that the sender left the bus."""
        for uid, (owner, _) in list(self._by_uid.items()):
            if owner == sender:
                del self._by_uid[uid]
                self._audit.record(SESSION, uid=uid, outcome="ended")

    def environment(self, uid: int) -> dict[str, str]:
        """Give the variables of a uid's live session; empty without one."""
        return self._by_uid.get(uid, ("", {}))[1]
