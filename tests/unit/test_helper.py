"""isod-helper: what it does for root with one right descriptor, and nothing else for anybody."""

import asyncio
import json
import os
import signal
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from closed import until_open_are
from isod.host import helper as helper_client
from isod.host.helper import Helper
from isod_helper import serve as helper

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the helper changes its uid, which takes root")

UID = 524288


class Listener:
    """A container's bus, as far as a connection to it goes."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "bus"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(os.fspath(self.path))
        self.path.chmod(0o666)
        self.socket.listen(8)
        self.socket.settimeout(5)
        self.path_fd = os.open(self.path, os.O_PATH | os.O_CLOEXEC)

    def peer(self) -> tuple[int, int]:
        """Accept and give uid and gid of who connected."""
        with self.socket.accept()[0] as accepted:
            _, uid, gid = struct.unpack("3i", accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return uid, gid

    def close(self) -> None:
        os.close(self.path_fd)
        self.socket.close()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    # Like the sockets of a container, it is reached by descriptor: the directories above it are closed to the uid.
    found = Listener(tmp_path)
    yield found
    found.close()


def run_helper(connection: socket.socket) -> int:
    """Serve one call in a child, as systemd would start it; gives its pid."""
    pid = os.fork()
    if pid == 0:
        code = 3
        try:
            # pytest-timeout has the signal for itself.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(helper.DEADLINE_SEC)
            code = 0 if helper.serve(connection, helper.VERBS["bus"]) else 1
        finally:
            os._exit(code)
    return pid


def ask(request: object, *fds: int) -> tuple[dict[str, object] | None, list[int], int]:
    """Send a request to a helper; gives the answer (None: hung up), its descriptors and the helper's exit code."""
    data = request if isinstance(request, bytes) else json.dumps(request).encode()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            socket.send_fds(ours, [data], list(fds))
            pid = run_helper(theirs)
        ours.settimeout(10)
        answer, received, _, _ = socket.recv_fds(ours, 4096, 4)
    return json.loads(answer) if answer else None, received, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_it_connects_as_the_containers_root(listener: Listener) -> None:
    answer, fds, code = ask({"verb": "connect-bus", "uid": UID}, listener.path_fd)
    assert (answer, code) == ({"ok": True}, 0)
    assert listener.peer() == (UID, UID)
    assert stat.S_ISSOCK(os.fstat(fds[0]).st_mode)
    os.close(fds[0])


@pytest.mark.attack("C02")
@pytest.mark.parametrize("uid", [0, 1, 1000, 65534, 65535, -1, 2**32 - 1, 2**40, True, "524288", 524288.0, None])
def test_it_never_becomes_one_of_the_hosts_own(listener: Listener, uid: object) -> None:
    answer, fds, code = ask({"verb": "connect-bus", "uid": uid}, listener.path_fd)
    assert answer is not None
    assert answer["error"]
    assert (fds, code) == ([], 1)
    listener.socket.settimeout(0.05)
    with pytest.raises(TimeoutError):
        listener.peer()


@pytest.mark.parametrize(
    "request_",
    [
        {"verb": "run", "uid": UID},
        {"verb": ["connect-bus"], "uid": UID},
        {"uid": UID},
        {"verb": "connect-bus", "uid": UID, "path": "/run/dbus/system_bus_socket"},
        [],
        b"not json",
        b"[" * 4000,
        b"",
        b"\xff\xfe",
        b'{"verb": "connect-bus", "uid": 524288' + b" " * 5000 + b"}",
    ],
    ids=lambda value: repr(value)[:40],
)
def test_it_refuses_all_else(listener: Listener, request_: object) -> None:
    answer, fds, code = ask(request_, listener.path_fd)
    assert answer is None or answer["error"]
    assert (fds, code) == ([], 1)


def test_it_takes_one_descriptor_of_a_socket(listener: Listener, tmp_path: Path) -> None:
    request = {"verb": "connect-bus", "uid": UID}
    (tmp_path / "file").write_text("")
    file_fd = os.open(tmp_path / "file", os.O_PATH)
    for fds in ((), (file_fd,), (listener.path_fd, listener.path_fd), (listener.path_fd,) * 9):
        answer, received, code = ask(request, *fds)
        assert answer is not None
        assert answer["error"]
        assert (received, code) == ([], 1)
    os.close(file_fd)


def test_a_closed_bus_is_told_by_the_systems_error(listener: Listener) -> None:
    listener.socket.close()
    answer, _, code = ask({"verb": "connect-bus", "uid": UID}, listener.path_fd)
    assert (answer, code) == ({"error": "Connection refused", "errno": 111}, 1)


def test_a_caller_who_is_not_root_gets_no_answer(listener: Listener, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(os.fspath(tmp_path / "helper"))
        server.listen(1)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            helper_fd = os.open(tmp_path / "helper", os.O_PATH)
            (tmp_path / "helper").chmod(0o666)
            os.setegid(1000)
            os.seteuid(1000)
            try:
                client.connect(f"/proc/self/fd/{helper_fd}")
            finally:
                os.seteuid(0)
                os.setegid(0)
                os.close(helper_fd)
            socket.send_fds(client, [json.dumps({"verb": "connect-bus", "uid": UID}).encode()], [listener.path_fd])
            with server.accept()[0] as accepted:
                pid = run_helper(accepted)
            client.settimeout(5)
            # Hung up with the request unread, which for this kind of socket is a reset.
            with pytest.raises(ConnectionResetError):
                client.recv(4096)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def test_a_bus_that_does_not_accept_holds_nobody(listener: Listener) -> None:
    listener.socket.listen(0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as filler:
        filler.connect(os.fspath(listener.path))
        answer, fds, code = ask({"verb": "connect-bus", "uid": UID}, listener.path_fd)
    assert (answer, fds, code) == (None, [], -signal.SIGALRM)


class Service:
    """The helper's socket, with a scripted answer a connection."""

    def __init__(self, path: Path, answer: bytes | None, fd: int | None = None) -> None:
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self.server.bind(os.fspath(path))
        self.server.listen(1)
        self.answer, self.fd = answer, fd

    async def serve(self) -> None:
        accepted, _ = await asyncio.get_running_loop().sock_accept(self.server)
        with accepted:
            await asyncio.get_running_loop().sock_recv(accepted, 4096)
            if self.answer is not None:
                socket.send_fds(accepted, [self.answer], [] if self.fd is None else [self.fd])


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (b'{"error":"Connection refused","errno":111}', ConnectionRefusedError, "Connection refused"),
        (b'{"error":"no such verb","errno":0}', OSError, "no such verb"),
        (b'{"ok":true}', ConnectionError, "no descriptor"),
        (b"[]", ConnectionError, "no proper answer"),
        (b"\xff", ConnectionError, "no proper answer"),
        (None, ConnectionError, "no answer"),
    ],
)
async def test_the_client_turns_answers_into_errors(
    tmp_path: Path, listener: Listener, answer: bytes | None, error: type[OSError], words: str
) -> None:
    service = Service(tmp_path / "helper", answer)
    serving = asyncio.create_task(service.serve())
    with pytest.raises(error, match=words):
        await Helper(os.fspath(tmp_path / "helper")).connect_bus(listener.path_fd, UID)
    await serving
    service.server.close()


async def test_a_descriptor_beside_an_error_is_closed(tmp_path: Path, listener: Listener) -> None:
    service = Service(tmp_path / "helper", b'{"error":"x","errno":5}', listener.path_fd)
    serving = asyncio.create_task(service.serve())
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="x"):
        await Helper(os.fspath(tmp_path / "helper")).connect_bus(listener.path_fd, UID)
    await serving
    until_open_are(before)
    service.server.close()


async def test_without_the_helpers_socket_there_is_an_error(tmp_path: Path, listener: Listener) -> None:
    with pytest.raises(FileNotFoundError):
        await Helper(os.fspath(tmp_path / "helper")).connect_bus(listener.path_fd, UID)


@pytest.mark.parametrize("uid", [UID, -1], ids=["done", "refused"])
def test_a_caller_who_has_left_is_no_fault(listener: Listener, uid: int) -> None:
    """An isod that is restarted while it waits: the helper ends by itself, without a traceback in the journal."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        with ours:
            socket.send_fds(ours, [json.dumps({"verb": "connect-bus", "uid": uid}).encode()], [listener.path_fd])
        pid = run_helper(theirs)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


async def test_a_helper_that_does_not_answer_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence ends up in `status`, where an empty one helps nobody."""
    monkeypatch.setattr(helper_client, "_TIMEOUT_SEC", 0.01)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        with pytest.raises(TimeoutError, match="isod-helper does not answer within") as caught:
            await Helper(str(tmp_path / "socket")).connect_bus(listener.fileno(), UID)
    assert caught.value.strerror
