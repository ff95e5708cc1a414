"""The root of a stopped container, checked before a start script works in it as root of the host."""

import os
import stat

from isod.host import rootfs
from isod.host.offload import Offload
from isod_contract import start_script
from isod_contract.errors import UnsafePath

_PATH = os.O_PATH | os.O_NOFOLLOW
# What systemd-nspawn(1) wants to find with --boot.
_OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
_INIT = ("usr/lib/systemd/systemd", "lib/systemd/systemd", "sbin/init")
_FOR_IMAGES = 'systemd-nspawn@.service boots images: `unit = "systemd-nspawn@NAME.service"` in its policy'


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

    async def lack(self, root: str, container: str) -> str:
        """Say what keeps systemd-nspawn from booting a directory; "" for nothing. Raises UnsafePath, LimitExceeded."""
        offload = self._offloads.setdefault(container, Offload(container))
        return await offload.run(lambda: self._lack(root))

    def _lack(self, root: str) -> str:
        try:
            root_fd = os.open(os.path.join(self._root, root.lstrip("/")), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            image = f"{root.rstrip('/')}.raw"
            if os.path.exists(os.path.join(self._root, image.lstrip("/"))):
                return f"{root} is not there, and an image such as {image} is not for this unit; " + _FOR_IMAGES
            return f"{root}, where its files must be, is not there"
        except NotADirectoryError:
            return f"{root} is not a directory"
        except OSError:
            return ""
        try:
            if not any(rootfs.is_there(root_fd, path) for path in _OS_RELEASE):
                return f"{root} has no /etc/os-release, so no system is installed there"
            if _has_own_usr(root_fd) and not any(rootfs.is_there(root_fd, path) for path in _INIT):
                return f"{root} has no init to boot; install systemd and its /sbin/init (Debian: systemd-sysv) there"
        finally:
            os.close(root_fd)
        return ""

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


def _has_own_usr(root_fd: int) -> bool:
    """Tell whether its programs lie there: an empty /usr is one that a bind fills when the container starts."""
    try:
        fd = rootfs.open_in_root(root_fd, "usr", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        with os.scandir(fd) as entries:
            return next(entries, None) is not None
    finally:
        os.close(fd)


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
