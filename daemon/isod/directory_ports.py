"""What passes between the core and the outside about directories of the host that callers have open."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol


class HostDirectory(NamedTuple):
    """A directory of the host that a caller has open, as the kernel says where it is."""

    path: str  # for the caller, if they have the host's root
    mount: int  # its number (proc(5), mnt_id)
    pid: int  # the caller's, who has that mount


class CallersDirectories(Protocol):
    """Finds directories that callers have open in containers that see them too."""

    def locate(self, untrusted_fd: int, caller_pid: int) -> HostDirectory:
        """Take note of where it is, and close it; waits for nothing. Raises InvalidArgument."""

    async def path_inside(self, guest: Any, directory: HostDirectory) -> str:
        """Give the path of the directory in a running container; "" where that does not see it.

        Raises UnsafePath, ContainerGone, LimitExceeded.
        """

    async def missing(self, guest: Any, account_uid: int, paths: Mapping[str, str]) -> tuple[str, ...]:
        """Give the names of the paths that are not there in a running container, as far as an account may see that.

        Raises as above.
        """
