"""polkit's questions, put only while the one who caused them is there, and not too many at once."""

from collections import Counter
from collections.abc import Mapping

from isod.bus.caller import CallerGoneError, Callers
from isod.ports import Authority, Caller
from isod_contract import limits
from isod_contract.actions import Action
from isod_contract.errors import LimitExceeded


class Prompts:
    """An Authority that asks another one."""

    def __init__(self, *, callers: Callers, authority: Authority) -> None:
        """Take who is there, and the authority to ask."""
        self._callers = callers
        self._authority = authority
        self._open: Counter[int] = Counter()

    async def check(self, caller: Caller, action: Action, details: Mapping[str, str]) -> bool:
        """Tell whether it is allowed; raises LimitExceeded.

        A caller that leaves takes its question along. Since the broker tells of its end before any later answer of
        polkit, a yes is never acted on for somebody who was gone when it was given (CVE-2021-3560).
        """
        if self._open[caller.uid] >= limits.PROMPTS_PER_UID:
            raise LimitExceeded(reason=f"{limits.PROMPTS_PER_UID} questions for a password are open already")
        self._open[caller.uid] += 1
        try:
            question = self._authority.check(caller, action, details)
            return await self._callers.while_there(caller.sender, question) is True
        except CallerGoneError:
            return False
        finally:
            self._open[caller.uid] -= 1
            if not self._open[caller.uid]:
                del self._open[caller.uid]
