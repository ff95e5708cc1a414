"""What a kind of host resource must declare so that policy, documentation and checks can follow from it."""

from abc import ABC
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from isod.device_ports import Device, HostDevices
from isod.ports import LiveSession
from isod_contract.errors import IsodError

GrantValue = str | tuple[str, ...]
"""A grant as policy holds it: a level, or a list that narrows one."""


class How(StrEnum):
    """How a socket comes to stand in a user's directory inside a container."""

    LISTEN = "listen"  # isod listens on it, and the user's session serves it
    MOUNT = "mount"  # it is the socket of a server of the user's, mounted there


@dataclass(frozen=True, slots=True)
class Attachment:
    """One granted resource as it must exist for one user in a running container."""

    key: str  # of the resource
    name: str  # of the socket
    how: How
    what: str  # a phrase for people
    exposed: str  # what an app reaches by it beyond what it is for; "" for nothing
    cookie: bytes = field(default=b"", repr=False)  # what an X server wants to see, if it does


class Resource(ABC):
    """One kind of host resource that policy can grant to a container; subclasses are found, not listed."""

    key: ClassVar[str]
    """Its name in `[grants]` and in `[never]`."""
    levels: ClassVar[tuple[str, ...]]
    """From the least to the most; the first is "none"."""
    default: ClassVar[str]
    """The level of a container whose policy does not name the kind."""
    doc: ClassVar[str]
    """What it grants, one paragraph for isod.toml(5)."""
    variables: ClassVar[tuple[str, ...]] = ()
    """Environment variables that isod alone sets in apps, since they lead to the resource."""
    needs_inside: ClassVar[tuple[str, ...]] = ()
    """Paths below the container's root of which one must be there for the resource to be of use; empty: none."""
    needs_fix: ClassVar[str] = ""
    """What brings it; `{inside}` stands for what runs a command as root inside."""

    @classmethod
    def attachment(cls, grants: Mapping[str, str], session: LiveSession) -> Attachment | IsodError | None:
        """Give what must be attached for a user with this session: nothing, or why it can't be.

        `grants` are the container's levels by resource.
        """
        del grants, session
        return None

    @classmethod
    def validate(cls, untrusted_value: object) -> GrantValue:
        """Give the grant that a value of a policy file means; raises ValueError with a reason for the administrator."""
        if isinstance(untrusted_value, str) and untrusted_value in cls.levels:
            return untrusted_value
        raise ValueError(f"must be {cls.choices()}")

    @classmethod
    def choices(cls) -> str:
        """Name the values that `validate` takes, for an error or the manual."""
        return quoted_choices(cls.levels)

    @classmethod
    def level_of(cls, value: GrantValue) -> str:
        """Give the level of a grant; a list is at the level that it narrows."""
        return value if isinstance(value, str) else cls.levels[-1]

    @classmethod
    def text_of(cls, value: GrantValue) -> str:
        """Write a grant as one string, as `Container.Grants` shows it."""
        return value if isinstance(value, str) else ",".join(value)

    @classmethod
    def lowered(cls, value: GrantValue, forbidden: Iterable[str]) -> GrantValue:
        """Give the value, or the highest level below it that is not forbidden; "none" can't be forbidden."""
        never = frozenset(forbidden)
        level = cls.level_of(value)
        if level not in never:
            return value
        below = cls.levels[: cls.levels.index(level)]
        return next((candidate for candidate in reversed(below) if candidate not in never), cls.levels[0])


class DeviceKind(Resource):
    """A kind that is device nodes: the same ones for all users of a container, which come and go with the devices."""

    @classmethod
    def subsystems(cls, value: GrantValue) -> frozenset[str]:
        """Name the subsystems of the kernel whose devices a grant can choose from."""
        del value
        return frozenset()

    @classmethod
    def choose(cls, value: GrantValue, host: HostDevices) -> tuple[list[Device], list[str]]:
        """Give the devices that a grant means now, and for each that it names and that must not be given, why."""
        del value, host
        return [], []

    @classmethod
    def absent(cls, value: GrantValue, host: HostDevices) -> list[str]:
        """Name what a grant names by itself, so that it must be there, and what is not."""
        del value, host
        return []

    @classmethod
    def never(cls, value: GrantValue, host: HostDevices) -> list[str]:
        """Say of each part of a grant that no device can ever have it, and why."""
        del value, host
        return []

    @classmethod
    def parse(cls, untrusted_text: str) -> GrantValue:
        """Give the grant that a word of the command line means, as `text_of` writes it; raises ValueError."""
        if untrusted_text in cls.levels:
            return cls.validate(untrusted_text)
        return cls.validate([part for part in untrusted_text.split(",") if part])


def quoted_choices(choices: Iterable[str]) -> str:
    """Write choices as `"a", "b" or "c"`."""
    quoted = [f'"{choice}"' for choice in choices]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
