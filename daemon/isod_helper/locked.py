"""Mounts that root in a container's user namespace can neither unmount nor remount with fewer restrictions.

The kernel locks what comes into a mount namespace from one of another user namespace, as one tree: each mount in it but
the first, and each one's attributes (mount_namespaces(7), "Restrictions on mount namespaces"). So three copies are
stacked, and the one on top, which is all that a path leads to, is locked. They come over as the copies of a mount in a
namespace that the container's user namespace owns: it receives what is mounted over the original, and hands on all.

A locked mount can't be unmounted by the host's root either. It goes when the file that it is mounted over is removed in
another mount namespace (unlink(2) since Linux 3.18).
"""

import os
import signal
import stat
from collections.abc import Callable

from isod_helper import mountapi, mounts

_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_PLACES = "/tmp"  # noqa: S108 - of a mount namespace of our own, covered by a file system of our own
_DEADLINE_SEC = 5

_joined = False

Clone = Callable[[], int]
"""Gives a new detached copy of what is to be shown, with its restrictions."""


def attach(clone: Clone, *, is_directory: bool, namespaces: tuple[int, int], place: Callable[[], int]) -> None:
    """Mount it in a container, locked; we must be in a mount namespace of our own that is private.

    `namespaces` are the container's user and mount namespace. `place` is called as the container's root in its mount
    namespace, and gives what to mount it over (O_PATH). Raises OSError, ValueError: those of `place` too.
    """
    first, second, third = clone(), clone(), clone()
    _make_places(is_directory=is_directory)
    mountapi.attach(first, os.open(f"{_PLACES}/first", _PATH))
    mountapi.share(first)
    mountapi.attach(second, os.open(f"{_PLACES}/second", _PATH))
    mountapi.attach(third, second)
    (ready, tell_ready), (stacked, tell_stacked), (result, tell_result) = os.pipe(), os.pipe(), os.pipe()
    if os.fork() == 0:
        os.close(tell_stacked)
        _carry_over(namespaces, place, (tell_ready, stacked, tell_result))
    os.close(tell_ready)
    os.close(tell_result)
    if os.read(ready, 1):
        mountapi.attach(second, first)
        os.write(tell_stacked, b"x")
    said = os.read(result, 4096).decode()
    if said != "done":
        kind, _, text = said.partition("|")
        if kind == "ValueError":
            raise ValueError(text)
        code = int(kind) if kind.isdigit() else 0
        raise OSError(code, text or "it could not be carried into the container")


def has_joined() -> bool:
    """Tell whether this process is in a container's user namespace."""
    return _joined


def _make_places(*, is_directory: bool) -> None:
    """Cover /tmp by a file system that is gone with our namespace, and make two places for mounts in it."""
    fd = os.open(_PLACES, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    mounts.mount_tmpfs(fd, "size=64k,nr_inodes=8,mode=755")
    for name in ("first", "second"):
        if is_directory:
            os.mkdir(f"{_PLACES}/{name}", 0o755)
        else:
            os.mknod(f"{_PLACES}/{name}", stat.S_IFREG | 0o644)


def _carry_over(namespaces: tuple[int, int], place: Callable[[], int], pipes: tuple[int, int, int]) -> None:
    """Be root of the container, take the stack out of a namespace that it owns, and mount it there; does not return."""
    global _joined  # noqa: PLW0603 - of a process that ends right after
    tell_ready, stacked, tell_result = pipes
    said = "0|it ended early"
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_DEADLINE_SEC)
        mountapi.enter_user_namespace(namespaces[0])
        _joined = True
        mountapi.own_mount_namespace()
        first = os.open(f"{_PLACES}/first", _PATH)
        os.write(tell_ready, b"x")
        if os.read(stacked, 1):
            tree = mountapi.clone(first, whole=True)
            mountapi.restrict(tree, 0)
            mountapi.enter_mount_namespace(namespaces[1])
            os.setgroups([])
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            mountapi.attach(tree, place())
            said = "done"
    except OSError as error:
        said = f"{error.errno or 0}|{error.strerror or error}"
    except ValueError as error:
        said = f"ValueError|{error}"
    finally:
        os.write(tell_result, said.encode())
        os._exit(0)
