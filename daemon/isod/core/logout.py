"""Stopping containers whose policy wants that when the last of their users logs out."""

import asyncio
import logging

from isod.authorise import sees
from isod.core.background import Background
from isod.core.containers import Containers
from isod.core.host_users import caller_of
from isod.core.logins import LoginWatch
from isod.core.sessions import Sessions
from isod.ports import Caller, Logins
from isod_contract.errors import IsodError
from isod_contract.states import ContainerState

_log = logging.getLogger(__name__)


class Logout:
    """Looks at it when somebody's last session is gone, and when isod-session is, which may be before that.

    It is logind that decides, since isod-session alone may have ended.
    """

    def __init__(self, *, sessions: Sessions, containers: Containers, logins: Logins, watch: LoginWatch) -> None:
        """Take the ports, and follow the sessions."""
        self._sessions = sessions
        self._containers = containers
        self._logins = logins
        self._background = Background()
        sessions.listen(self._session_changed)
        watch.listen(departed=self._begin)

    def _session_changed(self, uid: int) -> None:
        if self._sessions.find(uid) is None:
            self._begin(uid)

    def _begin(self, uid: int) -> None:
        self._background.spawn(self._look(uid))

    async def _look(self, uid: int) -> None:
        gone = await asyncio.to_thread(caller_of, uid)
        isod = Caller(sender="", uid=0, user="root")
        for container in self._containers.all():
            if container.policy.on_logout != "stop" or not sees(container.policy, gone):
                continue
            # Anew for each: while the one before stopped, somebody may have logged in.
            uids = await self._logins.uids()
            if uids is None or uid in uids:
                return
            here = [await asyncio.to_thread(caller_of, other) for other in uids if other]
            if container.state is not ContainerState.RUNNING or any(sees(container.policy, other) for other in here):
                continue
            _log.info("container.stopped_on_logout", extra={"container": container.name, "uid": uid})
            try:
                await self._containers.stop(container, isod, force=True)
            except IsodError as error:
                _log.warning("container.not_stopped", extra={"container": container.name, "reason": error.text})
