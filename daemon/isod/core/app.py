"""One app: a launched command and all that is known of it."""

import asyncio
import time
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from isod_contract.names import app_unit, left_over_unit
from isod_contract.states import ENDED, AppState
from isod_kernel import untrusted_fds


def boot_usec() -> int:
    """Give the time since the host was started, in microseconds, time in sleep included (clock_gettime(2))."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


@dataclass(slots=True, kw_only=True)
class AppRecord:
    """What must outlive isod: lies in the state directory as JSON."""

    id: str
    container: str
    host_unit: str
    machine: str
    invocation_id: str = ""
    owner_uid: int
    user: str
    argv: tuple[str, ...]
    started_usec: int = field(default_factory=lambda: time.time_ns() // 1000)
    # For durations: the other one jumps with the host's clock. That of CLOCK_BOOTTIME goes on while isod is restarted.
    started_boot_usec: int = field(default_factory=boot_usec)
    detached: bool = False
    state: AppState = AppState.AUTHORIZING
    exit_code: int = -1
    exit_signal: int = 0
    problem: tuple[str, str] = ("", "")
    running: bool = False
    main_ended: bool = False
    lends_streams: bool = False  # its unit holds descriptors of the caller's
    left_over: bool = False  # its main process ended, and what it left runs in its newest scope
    scopes: int = 0  # that were made for it, see isod.core.adoption
    older_scopes: tuple[int, ...] = ()  # before the newest, in which something of it may still be
    stop_timeout_usec: int = 10_000_000
    stop_wanted: bool = False  # also by an isod that was restarted before the container answered
    stored: str = ""  # name of its lifetime pipe in systemd's FD store
    grants: dict[str, str] = field(default_factory=dict)  # of what is attached for it: the level by resource
    # What the audit is to be told of a start that is not in the journal yet; names of variables, never values.
    untold_launch: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Give all fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, untrusted_values: object) -> "AppRecord":
        """Read what to_json gave. Raises TypeError, ValueError, KeyError for anything else."""
        if not isinstance(untrusted_values, dict):
            raise TypeError("not an object")
        known = {item.name for item in fields(cls)}
        values = {key: value for key, value in untrusted_values.items() if key in known}
        return cls(
            **{
                **values,
                "argv": tuple(values["argv"]),
                "problem": tuple(values["problem"]),
                "older_scopes": tuple(map(int, values.get("older_scopes", ()))),
                "state": AppState(values["state"]),
                "untold_launch": dict(values.get("untold_launch", {})),
            }
        )


class App:
    """A record and what only this isod knows of it: terminal, lifetime pipe, watch, launch under way."""

    def __init__(self, record: AppRecord) -> None:
        """Take the record."""
        self.record = record
        self.terminal_fd: int | None = None
        self.slave_fd: int | None = None  # of a terminal that no stream of the app is on
        self.lifetime_fd: int | None = None
        self.unwatch: Any = None
        self.launching: asyncio.Task[Any] | None = None
        self.recovered = False
        self.ended_sec = time.monotonic()  # or when this isod took over the record of its end
        self.letting_go = self.let_go_again = False

    def let_go_of_slave(self) -> None:
        """Let the app's terminal come to its end once nobody inside has it open."""
        fd, self.slave_fd = self.slave_fd, None
        if fd is not None:
            untrusted_fds.close(fd)

    @property
    def service(self) -> str:
        """The transient unit inside the container that it was started as."""
        return app_unit(self.record.id)

    @property
    def scope(self) -> str:
        """The newest unit inside for what it leaves running; see isod.core.adoption."""
        return left_over_unit(self.record.id, self.record.scopes)

    @property
    def scopes(self) -> list[str]:
        """The units of that kind that processes of it may be in: the newest is last."""
        newest = (self.record.scopes,) if self.record.scopes else ()
        return [left_over_unit(self.record.id, number) for number in (*self.record.older_scopes, *newest)]

    def older_scopes(self) -> list[tuple[int, str]]:
        """Give number and name of those before the newest."""
        return list(zip(self.record.older_scopes, self.scopes, strict=False))

    @property
    def unit(self) -> str:
        """The unit inside that its processes are in now."""
        return self.scope if self.record.left_over else self.service

    @property
    def units(self) -> list[str]:
        """All units inside that processes of it may be in."""
        return [self.service, *self.scopes]

    @property
    def units_ever(self) -> list[str]:
        """All units inside that its lines in the journal may be from, the first scope also before it is made."""
        # The newest few: a systemd that is hostile can have any number made.
        newest = max(1, self.record.scopes)
        first = max(1, newest - 7)
        return [self.service, *(left_over_unit(self.record.id, n) for n in range(first, newest + 1))]

    @property
    def stop_wanted(self) -> bool:
        """Whether somebody wants it to end: its caller left, its owner or an administrator ended it."""
        return self.record.stop_wanted

    @property
    def ended(self) -> bool:
        """Whether the main process has ended, or never will be."""
        return self.record.state in ENDED

    def __getattr__(self, name: str) -> Any:
        """Show the record's fields as the app's own."""
        if name.startswith("__") or name == "record":
            raise AttributeError(name)
        return getattr(self.record, name)
