"""polkit's questions, put only while the one who caused them is there, and not too many at once."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from isod.bus.caller import CallerGoneError, Callers
from isod.ports import Answer, Authority, Caller
from isod_contract.actions import Action
from isod_contract.errors import LimitExceeded


class Prompts:
    """An Authority that asks another one."""

    def __init__(
        self,
        *,
        callers: Callers,
        authority: Authority,
        per_uid_max: Callable[[int], int],
    ) -> None:
        """Take who is there, the authority to ask, and how many prompts a uid may have open."""
        self._callers = callers
        self._authority = authority
        self._per_uid_max = per_uid_max
        self._open: Counter[int] = Counter()

    async def check(self, caller: Caller, action: Action, details: Mapping[str, str]) -> Answer:
        """Tell whether it is allowed; raises LimitExceeded.

        A caller that leaves takes its question along. Since the broker tells of its end before any later answer of
        polkit, a yes is never acted on for somebody who was gone when it was given (CVE-2021-3560).
        """
        try:
            # First without a prompt: where none is needed, as after a password that polkit still remembers, none is
            # counted, and a polkit that is down is found out at once.
            answer = await self._check(replace(caller, interactive=False), action, details)
            if answer is Answer.NEEDS_QUESTION and caller.interactive:
                answer = await self._ask(caller, action, details)
        except CallerGoneError:
            return Answer.CALLER_GONE
        return answer

    async def _ask(self, caller: Caller, action: Action, details: Mapping[str, str]) -> Answer:
        most = self._per_uid_max(caller.uid)
        if self._open[caller.uid] >= most:
            raise LimitExceeded(reason=f"{most} password prompts of uid {caller.uid} are open already; answer one")
        self._open[caller.uid] += 1
        try:
            return await self._check(caller, action, details)
        finally:
            self._open[caller.uid] -= 1
            if not self._open[caller.uid]:
                del self._open[caller.uid]

    async def _check(self, caller: Caller, action: Action, details: Mapping[str, str]) -> Answer:
        return await self._callers.while_there(caller.sender, self._authority.check(caller, action, details))
