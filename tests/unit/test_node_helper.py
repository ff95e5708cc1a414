"""Device nodes for containers, with real mount and user namespaces: copies of what the host has, each at its place."""

import os

import pytest

from host_steps import Run, run

__all__ = ["run"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting and making nodes takes root")

STEPS = """
def node(directory='dri', name='renderD128', path='/dev/full', machine='blog', **more):
    fds = [os.open(path, os.O_PATH)]
    return act('make_node', {'machine': machine, 'directory': directory, 'name': name, **more}, fds)

def attach_it(container, name='full', place='dev/full', **more):
    request = {'machine': 'blog', 'uid_shift': container.shift, 'name': name, 'place': place, **more}
    return act('attach_node', request, [container.pidfd])

def detach_it(container, place='dev/full'):
    return act('detach_node', {'uid_shift': container.shift, 'place': place}, [container.pidfd])

def with_dev(container):
    os.mkdir(container.root + '/dev')
    os.chown(container.root + '/dev', container.shift, container.shift)
    return container

BASE = '/run/isod/container/blog'
WRITE = "open('/dev/full', 'w').write('x')"
"""


def test_a_node_is_a_copy_that_only_containers_reach(run: Run) -> None:
    said = run(
        STEPS,
        "print(node())",
        "s = os.stat(BASE + '/dri/renderD128'); print(see(BASE + '/dri/renderD128'), s.st_rdev == os.makedev(1, 7))",
        "print(see(BASE))",
        "print(node())",
    )
    assert said == ["done", "crw-rw-rw- 0 0 True", "drwx------ 0 0", "FileExistsError: [Errno 17] File exists"]


@pytest.mark.parametrize(
    "step",
    [
        "node(directory='run')",
        "node(directory='..')",
        "node(name='a/b')",
        "node(name='..')",
        "node(machine='../state')",
        "node(machine='nosuch')",
        "node(path='/dev')",
        "node(path='/run/secret')",
        "node(colour='red')",
    ],
)
@pytest.mark.attack("C19")
def test_it_makes_nothing_else(run: Run, step: str) -> None:
    (said,) = run(STEPS, f"print({step})")
    assert "Error" in said
    assert "BUG" not in said


@pytest.mark.parametrize("shift", [0, 524288])
def test_a_node_is_mounted_at_its_place_and_taken_away(run: Run, shift: int) -> None:
    """Also where the container has a user namespace: the tmpfs is the host's, so its nodes work there."""
    said = run(
        STEPS,
        f"c = with_dev(Container({shift}))",
        "print(node('node', 'full'))",
        "print(attach_it(c), see(c.root + '/dev/full')[:4], len(mounts(c, 'full')))",
        "print(c.do(\"str(os.stat('/dev/full').st_rdev == os.makedev(1, 7))\"))",
        "print(attach_it(c))",
        "print(detach_it(c), os.listdir(c.root + '/dev'), len(mounts(c, 'full')))",
        "print(attach_it(c, place='dev/input/event7'), detach_it(c, 'dev/input/event7'))",
    )
    assert said == [
        "done",
        "done -rw- 1",
        "True",
        "FileExistsError: [Errno 17] something stands there already",
        "done [] 0",
        "done done",
    ]


@pytest.mark.parametrize(
    "place", ["etc/passwd", "dev/../etc/x", "/dev/x", "dev", "dev/", "dev/.x", "dev/a/b/c/d", "dev/x\\n"]
)
@pytest.mark.attack("C20")
def test_it_mounts_nowhere_else(run: Run, place: str) -> None:
    said = run(STEPS, "c = with_dev(Container())", "node('node', 'full')", f"print(attach_it(c, place='{place}'))")
    assert said == ["ValueError: that is not a place for a device"]


@pytest.mark.attack("C20")
def test_what_stands_there_is_neither_followed_nor_covered_nor_removed(run: Run) -> None:
    said = run(
        STEPS,
        "c = with_dev(Container())",
        "node('node', 'full')",
        "os.symlink('/run/secret', c.root + '/dev/full')",
        "print(attach_it(c))",
        "os.unlink(c.root + '/dev/full'); open(c.root + '/dev/full', 'w').write('theirs')",
        "print(attach_it(c), detach_it(c), open(c.root + '/dev/full').read())",
        "os.rename(c.root + '/dev', c.root + '/other'); os.symlink('/run', c.root + '/dev')",
        "print(attach_it(c), os.path.exists('/run/full'))",
    )
    assert said[0] == "FileExistsError: [Errno 17] something stands there already"
    assert said[1] == "FileExistsError: [Errno 17] something stands there already done theirs"
    assert said[2] == "NotADirectoryError: [Errno 20] Not a directory False"


def test_it_may_be_asked_many_times_and_keeps_nothing_open(run: Run) -> None:
    """One process serves all calls of an isod, and may have few descriptors."""
    said = run(
        STEPS,
        "before = len(os.listdir('/proc/self/fd'))",
        "print({node(name=f'renderD{i}') for i in range(100)}, {node(machine='nosuch') for i in range(100)})",
        "print(len(os.listdir('/proc/self/fd')) - before - 200)",
    )
    assert said == ["{'done'} {'ValueError: nosuch: No such file or directory'}", "0"]
