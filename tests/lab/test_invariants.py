"""Each invariant of the lab can fail: it is broken on purpose here, and is told once, by name."""

from collections.abc import Iterator

import pytest

from lab.invariants import ANSWER_SEC, SETTLE_SEC, SLACK, Invariants
from lab.machine import Lab

# more than what the apps that other tests have left may hold
LEAKED = 10 * SLACK
# In isod's installed code, run once in its loop when it is first asked for its counters.
FAULTS = {
    "fds": f"_kept = [os.open('/dev/null', os.O_RDONLY) for _ in range({LEAKED})]",
    "tasks": f"_kept = [asyncio.create_task(asyncio.sleep(3600)) for _ in range({LEAKED})]",
    "stall": "while time.thread_time() < _begun + 0.4: pass",
    "traceback": "asyncio.get_running_loop().call_soon(lambda: 1 / 0)",
    "isod": "os._exit(0)",
}
PLANTED = """
_read, _kept = read, None
def read(*held):
    global _kept
    _begun = time.thread_time()
    if _kept is None:
        _kept = ()
        {fault}
    return _read(*held)
"""


@pytest.fixture
def watched(invariants: Invariants) -> Iterator[Invariants]:
    invariants.settle_sec = 3.0  # isod is restarted by each, and has to find its containers first
    yield invariants
    invariants.settle_sec, invariants.answer_sec = SETTLE_SEC, ANSWER_SEC


@pytest.mark.parametrize("name", FAULTS)
def test_what_isod_does_wrong_is_told(lab: Lab, watched: Invariants, name: str) -> None:
    installed = lab.host_path("/usr/lib/isoctl/isod/counters.py")
    text = installed.read_text()
    if name == "isod":
        # else it comes back before anybody looks
        lab.run("systemctl", "stop", "isod")
        watched.answer_sec = 1.0
    else:
        installed.write_text(text + PLANTED.format(fault=FAULTS[name]))
        lab.run("systemctl", "restart", "isod")
    try:
        # a turn of the loop is counted when it is over
        assert {found.name for found in watched.broken() + watched.broken()} == {name}
        assert name == "isod" or watched.broken() == []
    finally:
        installed.write_text(text)
        lab.run("systemctl", "restart", "isod")
        watched.answer_sec = ANSWER_SEC


@pytest.mark.parametrize(
    ("change", "back", "path"),
    [
        ("chmod 666 /etc/hosts", "chmod 644 /etc/hosts", "/etc/hosts"),
        ("chown bob /usr/lib/systemd/system/isod.service", "chown root /usr/lib/systemd/system/isod.service",
         "/usr/lib/systemd/system/isod.service"),
        ("mkdir -p /etc/planted/inside", "rm -r /etc/planted", "/etc/planted/inside"),
        ("chmod 777 /home/bob", "chmod 700 /home/bob", "/home/bob"),
        ("chown alice /run/user/1001", "chown bob /run/user/1001", "/run/user/1001"),
        ("mv /run/user/1000/bus /run/user/1000/b", "mv /run/user/1000/b /run/user/1000/bus", "/run/user/1000/bus"),
    ],
)  # fmt: skip
def test_a_changed_file_of_the_host_is_told(lab: Lab, watched: Invariants, change: str, back: str, path: str) -> None:
    lab.run("sh", "-c", change)
    try:
        found = watched.broken()
        assert {broken.name for broken in found} == {"host-files"}
        assert path in [broken.text.split(":")[0] for broken in found]
        assert watched.broken() == []
    finally:
        lab.run("sh", "-c", back)
        watched.accept()


def test_a_socket_that_was_replaced_is_told(lab: Lab, watched: Invariants) -> None:
    """I-24: a path that is there again is not the socket that programs were connected to."""
    bind = "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])"
    path = "/run/user/1001/planted"
    lab.run("python3", "-c", bind, path, user="bob")
    watched.accept()
    lab.run("sh", "-c", f'rm {path}; exec python3 -c "{bind}" {path}', user="bob")
    assert [broken.text.split(":")[0] for broken in watched.broken()] == [path]
    lab.run("rm", path)
    watched.accept()


def test_mounts_that_lie_on_each_other_are_told(lab: Lab, watched: Invariants) -> None:
    lab.start("evil")
    for _ in range(2):
        lab.in_container("evil", "mount", "-t", "tmpfs", "stacked", "/mnt")
    try:
        (broken,) = watched.broken()
        assert str(broken) == "mounts: container@evil.service has more than one mount at /mnt"
        assert watched.broken() == []
    finally:
        lab.in_container("evil", "umount", "-A", "/mnt")


@pytest.mark.breaks("host-files")
def test_a_test_can_declare_what_it_breaks(lab: Lab) -> None:
    lab.run("touch", "/etc/declared")
