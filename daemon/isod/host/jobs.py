"""Waiting for systemd jobs: JobRemoved told apart by job, without losing one that ends before its reply is read."""

import asyncio
import re

from isod.host.bus_calls import BusCalls
from isod.host.properties import read_properties
from isod.host.unitpath import MANAGER_INTERFACE, SYSTEMD, SYSTEMD_PATH, UNIT_INTERFACE, unit_path
from isod_wire import BadReply, MatchRule, Message, RemoteError

_EARLY_MAX = 256
_ENDED = frozenset({"inactive", "failed"})
# What a container's systemd says is untrusted: it may name a job by a megabyte, and never end it.
_WAITING_MAX = 4096
_JOB = re.compile(re.escape(SYSTEMD_PATH) + r"/job/[0-9]{1,10}")
# org.freedesktop.systemd1(5), JobRemoved, and those of newer versions.
_RESULTS = frozenset(
    [
        "done",
        "canceled",
        "timeout",
        "failed",
        "dependency",
        "skipped",
        "invalid",
        "assert",
        "unsupported",
        "collected",
        "once",
        "frozen",
        "concurrency",
    ]
)


class Jobs:
    """The jobs of one systemd manager that somebody here waits for."""

    def __init__(self, connection: BusCalls) -> None:
        """Take the connection over which the manager is reached."""
        self._connection = connection
        self._waiting: dict[str, list[asyncio.Future[str]]] = {}
        self._asked: dict[str, tuple[str, str]] = {}  # by job: the method and the unit
        self._early: dict[str, str] = {}
        self._calls_in_flight = 0

    async def open(self) -> None:
        """Ask for the manager's signals; must be done before the first job is queued."""
        await self._connection.add_match(
            MatchRule(sender=SYSTEMD, path=SYSTEMD_PATH, interface=MANAGER_INTERFACE, member="JobRemoved"),
            self._job_removed,
        )
        await self._connection.call(SYSTEMD, SYSTEMD_PATH, MANAGER_INTERFACE, "Subscribe", timeout_sec=5.0)

    def _job_removed(self, message: Message) -> None:
        if message.signature != "uoss":
            return
        _, job, _, untrusted_result = message.body
        result = untrusted_result if untrusted_result in _RESULTS else "an unknown result"
        waiting = self._waiting.pop(job, None)
        self._asked.pop(job, None)
        if waiting is not None:
            for future in waiting:
                if not future.done():
                    future.set_result(result)
        elif self._calls_in_flight and len(self._early) < _EARLY_MAX:
            # The job may be over before the reply that names it has been read by the waiting task.
            self._early[job] = result

    async def queue(
        self,
        member: str,
        signature: str,
        body: list[object],
        *,
        fds: tuple[int, ...] = (),
        timeout_sec: float = 25.0,
    ) -> asyncio.Future[str]:
        """Call a manager method that queues a job; gives a future of the job's result (`done`, `failed`, ...)."""
        self._calls_in_flight += 1
        try:
            with await self._connection.call(
                SYSTEMD,
                SYSTEMD_PATH,
                MANAGER_INTERFACE,
                member,
                signature,
                body,
                fds=fds,
                timeout_sec=timeout_sec,
                expect="o",
            ) as reply:
                job = str(reply.body[0])
            if not _JOB.fullmatch(job):
                raise BadReply("that is not the path of a job")
            future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            if job in self._early:
                future.set_result(self._early[job])  # kept: equal jobs are merged, others may ask too
            else:
                # systemd merges equal jobs, so several may wait for one.
                self._waiting.setdefault(job, []).append(future)
                self._asked[job] = (member, str(body[0]))
                self._forget_too_many()
            return future
        finally:
            self._calls_in_flight -= 1
            if not self._calls_in_flight:
                self._early.clear()

    def _forget_too_many(self) -> None:
        while len(self._waiting) > _WAITING_MAX:
            job = next(iter(self._waiting))
            self._asked.pop(job, None)
            for future in self._waiting.pop(job):
                if not future.done():
                    future.set_result("lost")

    async def look_again(self) -> None:
        """Settle the jobs that ended unheard, while the manager was away to execute itself anew. Raises WireError."""
        for job, (member, unit) in list(self._asked.items()):
            try:
                await read_properties(self._connection, SYSTEMD, job, f"{SYSTEMD}.Job", timeout_sec=5.0)
            except RemoteError:
                state = await self._state_of(unit)
                was_stop = member == "StopUnit"
                result = "done" if (state in _ENDED) == was_stop else "failed"
                for future in self._waiting.pop(job, []):
                    if not future.done():
                        future.set_result(result)
                self._asked.pop(job, None)

    async def _state_of(self, unit: str) -> str:
        values = await read_properties(self._connection, SYSTEMD, unit_path(unit), UNIT_INTERFACE, timeout_sec=5.0)
        return str(values.get("ActiveState", ""))

    def fail_all(self) -> None:
        """Resolve everything as `lost`, when the manager's connection is gone."""
        for waiting in self._waiting.values():
            for future in waiting:
                if not future.done():
                    future.set_result("lost")
        self._waiting.clear()
        self._asked.clear()
