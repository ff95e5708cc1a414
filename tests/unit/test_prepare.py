"""The directory of a container: a private tmpfs of its own, whatever its last inhabitant left there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from isod_helper.prepare import main

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")

DAEMON = Path(__file__).resolve().parents[2] / "daemon"


class Host:
    """A root directory on a shared mount of its own, in a mount namespace that ends with the test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "run").mkdir()

    def run(self, *steps: str) -> str:
        """Run steps of Python in one new mount namespace; gives what they print."""
        program = "\n".join(
            [
                "import os, sys",
                f"sys.path.insert(0, {os.fspath(DAEMON)!r})",
                "from isod_helper.prepare import prepare, UnsafeDirectory",
                f"root = {os.fspath(self.root)!r}",
                "base = root + '/run/isod/container'",
                "os.umask(0o077)",
                *steps,
            ]
        )
        script = f'mount -t tmpfs none {self.root}/run && mount --make-shared {self.root}/run && exec "$0" -c "$1"'
        done = subprocess.run(
            ["unshare", "-m", "--propagation", "private", "sh", "-c", script, sys.executable, program],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


MOUNTS = "mounts = [line.split() for line in open('/proc/self/mountinfo') if root + '/run/isod/container' in line]"


def test_it_makes_a_small_private_file_system_where_devices_work(host: Host) -> None:
    said = host.run(
        "prepare('blog', root)",
        MOUNTS,
        "(fields,) = mounts",
        "print(fields[4].removeprefix(root), fields[5], fields[6])",
        "print('size=65536k,nr_inodes=4096' in ' '.join(fields))",
        "print(sorted(os.listdir(base + '/blog')), oct(os.stat(base + '/blog/run').st_mode))",
        "print(oct(os.stat(root + '/run/isod/state').st_mode), oct(os.stat(root + '/run/isod').st_mode))",
    ).splitlines()
    # No `shared:` tag after the options, and neither nodev nor a mode that the umask took away.
    assert said == [
        "/run/isod/container/blog rw,nosuid,noexec,relatime -",
        "True",
        "['dri', 'run'] 0o40755",
        "0o40700 0o40755",
    ]


@pytest.mark.attack("C56")
def test_a4_there_is_room_for_the_files_of_launches_and_what_was_left_goes(host: Host) -> None:
    """A4: 256 inodes were not enough for 300 launches; and what an isod that was killed left has values in it."""
    said = host.run(
        "prepare('blog', root)",
        "os.mkdir(base + '/blog/run/launch')",
        "for n in range(1000): open(base + f'/blog/run/launch/{n}', 'w').close()",
        "prepare('blog', root)",
        "print(os.listdir(base + '/blog/run'))",
    )
    assert said == "[]"


@pytest.mark.attack("C56")
def test_a_mount_that_is_made_anew_is_so_for_an_isod_with_mounts_of_its_own(host: Host) -> None:
    """A mount below it, which was there for launches once, kept the old one in isod's namespace for ever."""
    said = host.run(
        "import subprocess",
        "prepare('blog', root)",
        "look = 'mount --make-rslave / && echo ready && read line && stat -c %a $0/blog/run; stat -c %i $0/blog/run'",
        "pipe = subprocess.PIPE",
        "argv = ['unshare', '-m', '--propagation', 'unchanged', 'sh', '-c', look, base]",
        "isod = subprocess.Popen(argv, stdin=pipe, stdout=pipe)",
        "isod.stdout.readline()",
        "os.mkdir(base + '/blog/run/launch'); os.mkdir(base + '/blog/run/1000')",
        "os.chmod(base + '/blog/run', 0o777)",
        "prepare('blog', root)",
        "print(isod.communicate(b'go\\n')[0].decode().split()[0], oct(os.stat(base + '/blog/run').st_mode))",
    )
    assert said == "755 0o40755"


def test_a_second_time_changes_nothing(host: Host) -> None:
    said = host.run(
        "prepare('blog', root)",
        "os.mkdir(base + '/blog/run/1000')",
        "open(base + '/blog/run/1000/wayland-0', 'w').close()",
        "prepare('blog', root)",
        "prepare('Upper.Case-1', root)",
        MOUNTS,
        "print(len(mounts), os.listdir(base + '/blog/run/1000'))",
    )
    assert said == "2 ['wayland-0']"


@pytest.mark.parametrize(
    "damage",
    [
        "os.rename(base + '/blog/run', base + '/blog/old'); os.symlink('/etc', base + '/blog/run')",
        "os.mkdir(base + '/blog/run/launch'); open(base + '/blog/run/launch/left', 'w').close()",
        "os.symlink('/etc', base + '/blog/run/1000')",
        "os.rmdir(base + '/blog/dri'); open(base + '/blog/dri', 'w').close()",
        "os.chmod(base + '/blog/run', 0o777)",
        "os.chown(base + '/blog/run', 1000, 1000)",
    ],
)
def test_what_a_containers_root_did_to_it_is_thrown_away(host: Host, damage: str) -> None:
    said = host.run(
        "prepare('blog', root)",
        damage,
        "prepare('blog', root)",
        MOUNTS,
        "stats = [os.lstat(base + '/blog/' + name) for name in ('run', 'dri')]",
        "print(len(mounts), [(oct(s.st_mode), s.st_uid) for s in stats], oct(os.stat('/etc').st_mode))",
    )
    assert said == f"1 [('0o40755', 0), ('0o40755', 0)] {oct(os.stat('/etc').st_mode)}"


def test_a_full_file_system_is_no_way_to_stop_the_next_start(host: Host) -> None:
    """Root in a container without user namespacing can take all inodes of it."""
    said = host.run(
        "prepare('blog', root)",
        "os.rmdir(base + '/blog/dri')",
        "n = 0",
        "try:",
        "    while n < 10000:",
        "        os.mkdir(base + f'/blog/run/{n}'); n += 1",
        "except OSError: pass",
        "prepare('blog', root)",
        "print(n < 10000, sorted(os.listdir(base + '/blog')))",
    )
    assert said == "True ['dri', 'run']"


@pytest.mark.attack("C01")
@pytest.mark.parametrize(
    "trap",
    [
        "os.makedirs(root + '/run/isod'); os.symlink('/etc', root + '/run/isod/container')",
        "os.makedirs(base); os.symlink('/etc', base + '/blog')",
        "os.symlink('/etc', root + '/run/isod')",
        "os.makedirs(base); os.chmod(base, 0o777)",
        "os.makedirs(base); os.mkdir(base + '/blog'); os.chown(base + '/blog', 1000, 1000)",
        "os.makedirs(base); open(base + '/blog', 'w').close()",
    ],
)
def test_it_follows_no_link_and_uses_nothing_that_others_can_write(host: Host, trap: str) -> None:
    said = host.run(
        trap,
        "try: prepare('blog', root)",
        "except UnsafeDirectory: print('refused')",
        "print(any('tmpfs' in line and '/etc' in line.split()[4] for line in open('/proc/self/mountinfo')))",
    )
    assert said.splitlines() == ["refused", "False"]


def test_many_at_once_make_one_mount(host: Host) -> None:
    said = host.run(
        "from concurrent.futures import ThreadPoolExecutor",
        "with ThreadPoolExecutor(8) as pool: list(pool.map(lambda _: prepare('blog', root), range(32)))",
        MOUNTS,
        "print(len(mounts))",
    )
    assert said == "1"


@pytest.mark.attack("C10")
@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "x" * 256, "a b", "a\nb", "--help"])
def test_a_name_that_leaves_the_directory_is_refused(name: str) -> None:
    assert main([name]) == 2
