"""Which path inside a container is what a caller has on the host: by the kernel's lists of mounts, and their rights."""

import os
from pathlib import Path

import pytest

from isod.host import host_directories, rootfs
from isod.host.host_directories import HostDirectories, Mount, translated
from isod_contract.errors import InvalidArgument

ROOT = Mount(1, 0, "8:1", "/", "/")
HOME = Mount(2, 1, "8:2", "/@home", "/home")
INSIDE = [
    Mount(100, 50, "8:1", "/var/lib/machines/blog", "/"),
    Mount(101, 100, "0:5", "/", "/proc"),
    Mount(102, 100, "8:2", "/@home/alice/src", "/mnt/work"),
    Mount(103, 102, "8:2", "/@home/alice/src/a", "/mnt/work/hidden"),
    Mount(104, 102, "0:7", "/", "/mnt/work/b"),
]


@pytest.mark.parametrize(
    ("path", "mount", "expected"),
    [
        ("/home/alice/src", HOME, "/mnt/work"),
        ("/home/alice/src/x y", HOME, "/mnt/work/x y"),
        ("/home/alice/src/a/z", HOME, "/mnt/work/hidden/z"),
        # Others begin with the same letters.
        ("/home/alice/src2", HOME, ""),
        ("/home/alice", HOME, ""),
        # Something else is mounted there.
        ("/home/alice/src/b", HOME, ""),
        ("/home/alice/src/b/c", HOME, ""),
        ("/home/alice/src/hidden", HOME, ""),
        # The container's own root, seen from the host.
        ("/var/lib/machines/blog", ROOT, "/"),
        ("/var/lib/machines/blog/srv", ROOT, "/srv"),
        ("/srv", ROOT, ""),
        # A path that is not on the mount which the descriptor names.
        ("/elsewhere", HOME, ""),
    ],
)
def test_a_directory_is_found_by_file_system_and_place(path: str, mount: Mount, expected: str) -> None:
    assert translated(path, mount, INSIDE) == expected


def test_the_same_path_is_preferred_and_what_covers_it_is_seen() -> None:
    same = Mount(105, 100, "8:2", "/@home/alice", "/home/alice")
    assert translated("/home/alice/src", HOME, [*INSIDE, same]) == "/home/alice/src"
    over = Mount(106, 105, "0:9", "/", "/home/alice")
    assert translated("/home/alice/src", HOME, [*INSIDE, same, over]) == "/mnt/work"
    # A mount that lists itself as its parent, or none: no end of a search is needed.
    assert translated("/x", ROOT, []) == ""
    assert translated("/x", ROOT, [Mount(1, 1, "8:1", "/", "/")]) == "/x"


def test_a_descriptor_is_located_and_closed(tmp_path: Path) -> None:
    odd = tmp_path / "a b\\c"
    odd.mkdir()
    fd = os.open(odd, os.O_PATH)
    found = HostDirectories().locate(fd, os.getpid())
    assert found.path == str(odd)
    (mount,) = [mount for mount in host_directories._mounts_of(os.getpid()) if mount.id == found.mount]
    assert translated(found.path, mount, host_directories._mounts_of(os.getpid())) == str(odd)
    file = os.open(__file__, os.O_RDONLY)
    with pytest.raises(InvalidArgument, match="is no directory"):
        HostDirectories().locate(file, os.getpid())


@pytest.mark.attack("C30")
def test_who_may_not_look_into_a_directory_is_not_told_what_is_there(tmp_path: Path) -> None:
    """`-e NAME=/home/bob/private/x` was warned of where that is not there, and not where it is."""
    private = tmp_path / "home/private"
    private.mkdir(parents=True)
    (private / "x").write_text("")
    (tmp_path / "home/link").symlink_to("private/x")
    (tmp_path / "home/dangling").symlink_to("private/y")
    owner, other = os.geteuid(), os.geteuid() + 1
    for path in (tmp_path, tmp_path / "home"):
        path.chmod(0o755)
    root_fd = os.open(tmp_path, os.O_PATH)

    def lacks(path: str, uid: int = other) -> bool:
        return rootfs.lacks(root_fd, path, uid)

    try:
        for mode in (0o700, 0o701, 0o710, 0o766):
            private.chmod(mode)
            told = {lacks(f"/home/private/{name}") for name in ("x", "y", "x/z", "y/z", "../nosuch")}
            assert told == {False}, oct(mode)
            # Nor by a link of one's own that leads there.
            assert {lacks("/home/link"), lacks("/home/dangling")} == {False}
            assert lacks("/home/private/y", owner)
        private.chmod(0o711)
        assert not lacks("/home/private/x")
        assert lacks("/home/private/y")
        assert lacks("//home/./private/y/z")
        assert not lacks("/home/private/x/z")
    finally:
        os.close(root_fd)
