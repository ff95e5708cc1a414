"""Containers that policy wants started when one of their users logs in."""

import asyncio
import logging

from isod.authorise import Outcome, Verb, decide
from isod.core.background import Background
from isod.core.containers import Containers
from isod.core.host_users import caller_of
from isod.core.logins import LoginWatch
from isod_contract.states import ContainerState

_log = logging.getLogger(__name__)


class Autostart:
    """Starts them as if the user had asked; what they may start only after a question is left."""

    def __init__(self, *, containers: Containers, logins: LoginWatch) -> None:
        """Take the parts, and follow the logins."""
        self._containers = containers
        self._background = Background()
        logins.listen(arrived=self._arrived)

    def _arrived(self, uid: int) -> None:
        self._background.spawn(self._start_for(uid))

    async def _start_for(self, uid: int) -> None:
        user = await asyncio.to_thread(caller_of, uid)
        for container in self._containers.visible(user):
            policy = container.policy
            if not policy.autostart or container.state not in (ContainerState.STOPPED, ContainerState.FAILED):
                continue
            if uid and decide(policy, user, Verb.START, container.name).outcome is Outcome.ALLOWED:
                _log.info("container.started_on_login", extra={"container": container.name, "uid": uid})
                await self._containers.start(container, user)
