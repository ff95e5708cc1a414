"""What checks look at in running containers: values, all of them untrusted, and the Protocol that reads them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from isod.ports import Account


@dataclass(frozen=True, slots=True)
class Space:
    """A file system's room (statvfs(3)); all zero where it was not asked."""

    free_bytes: int = 0
    total_bytes: int = 0
    free_inodes: int = 0
    total_inodes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A container's network as the kernel tells of it."""

    is_own: bool = False  # not the host's
    without_address: tuple[str, ...] = ()  # interfaces of a network of its own in which none has an address
    has_address: bool = False
    has_route_out: bool = False
    unaddressed_peer: str = ""  # the host's end of its link, if that has lost its address


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What was seen in a running container's root and network."""

    present: frozenset[str]  # of the things that were asked for
    groups: tuple[str, ...] = ()  # supplementary ones of the account
    space: Space = field(default_factory=Space)  # of its root
    root_owner: int | None = None  # the uid, on the host, that / inside belongs to
    network: Network = field(default_factory=Network)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """Where a container's programs ask for names."""

    servers: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()  # of these, addresses of its own at which nobody listens
    hosts_servers: tuple[str, ...] = ()  # the host's, where the container has an older copy of its file


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What was seen in files that lie anywhere inside: asked last, since any of them may never answer."""

    home: str = ""  # what is wrong with the account's home; "" for nothing
    parents: tuple[str, ...] = ()  # directories of the home, made for mounts below them, that belong to root
    tmp: Space = field(default_factory=Space)  # of /tmp, where it is a file system of its own
    unresolved_name: str = ""  # the container's own name, if nothing inside resolves it
    resolver: Resolver | None = None
    proc_is_masked: bool = False  # no user namespace inside may mount a /proc
    unseen: tuple[str, ...] = ()  # what could not be looked at, and why
    unasked: tuple[str, ...] = ()  # what was left alone, since it may never answer, and why


class Surveyor(Protocol):
    """Looks into running containers for checks; blocking, so called through the guest's offload."""

    def look(self, guest: Any, account: Account | None, wanted: Mapping[str, tuple[str, ...]]) -> Inside:
        """Read what checks need; a name of `wanted` is present if any of its paths below the root is there."""

    def look_at_places(self, guest: Any, account: Account | None) -> Places:
        """Read what lies anywhere inside; what can't be read is named, and keeps nothing else from being read."""
