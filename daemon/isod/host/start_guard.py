"""The root of a stopped container, checked before a start script works in it as root of the host."""

import os
import stat

from isod.host import rootfs
from isod.host.offload import Offload
from isod_contract import start_script
from isod_contract.errors import UnsafePath

_PATH = os.O_PATH | os.O_NOFOLLOW


class StoppedRoots:
    """Adapter of `StartGuard`."""

    def __init__(self, *, root: str = "/") -> None:
        """Take the host's root directory, another one in tests."""
        self._root = root
        self._offloads: dict[str, Offload] = {}

    async def check(self, machine: str, container: str) -> None:
        """Raise UnsafePath for a link, or anything else of the wrong kind, where the start script will go.

        A container that is not laid out as NixOS does it has no such script, and nothing is checked. Off the loop and
        with a deadline: the tree may lie on a file system that does not answer.
        """
        # One for all attempts, as in guest_door: a stuck thread must not be joined by one more each time.
        offload = self._offloads.setdefault(container, Offload(container))
        await offload.run(lambda: self._check(machine, container))

    def _check(self, machine: str, container: str) -> None:
        for parent in start_script.ROOTS:
            try:
                root_fd = os.open(os.path.join(self._root, parent, machine), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise rootfs.unsafe(container, f"{parent}/{machine}", error) from None
            try:
                for path in start_script.DIRECTORIES:
                    _check_path(root_fd, path, container, is_directory=True)
                for path in start_script.FILES:
                    _check_path(root_fd, path, container, is_directory=False)
            finally:
                os.close(root_fd)


def _check_path(root_fd: int, path: str, container: str, *, is_directory: bool) -> None:
    try:
        with rootfs.opened(root_fd, path, _PATH) as fd:
            mode = os.fstat(fd).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise rootfs.unsafe(container, path, error) from None
    if not (stat.S_ISDIR(mode) if is_directory else stat.S_ISREG(mode)):
        kind = "a directory" if is_directory else "a regular file"
        # With O_PATH a link in the last place is opened itself.
        reason = f"not {kind}; its start script would follow or change it as the host's root, repair it from the host"
        raise UnsafePath(path="/" + path, container=container, reason=reason)
