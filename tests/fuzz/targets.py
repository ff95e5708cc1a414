"""What is fuzzed: each target takes any bytes, and raises only if something is wrong."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from isod.desktop_entry import parse as parse_desktop_entry
from isod.host.accounts import groups_of, parse_passwd
from isod.policy_loader import load_policy
from isod_wire import CONTAINER_CAPS, SYSTEM_BUS_CAPS, BadMessage, Message
from isod_wire.encode import encode_body
from isod_wire.reader import EndOfStream, FrameReader
from isod_wire.shed import LoadShed

OWNERS = frozenset({0, os.geteuid()})
SEPARATOR = b"\n---\n"


class _Stream:
    """A socket that gives the bytes in pieces of one size, and no descriptors."""

    def __init__(self, data: bytes, piece_bytes: int) -> None:
        self._data = data
        self._piece_bytes = piece_bytes

    def recvmsg(self, size: int, _control: int, _flags: int) -> tuple[bytes, list[Any], int, None]:
        piece = min(size, self._piece_bytes)
        given, self._data = self._data[:piece], self._data[piece:]
        return given, [], 0, None


def framing(data: bytes) -> None:
    """A stream from a bus: messages, refusals, or the end of a connection that is out of step; and nothing else.

    The first byte says whose caps hold and how the stream is cut.
    """
    first = data[0] if data else 0
    caps = CONTAINER_CAPS if first & 1 else SYSTEM_BUS_CAPS
    stream: Any = _Stream(data[1:], 1 + (first >> 1) * 8)
    reader = FrameReader(stream, caps, LoadShed(lambda *_: None))
    try:
        while reader.receive():
            while (frame := reader.next_message()) is not None:
                if isinstance(frame, Message):
                    _look_at(frame)
    except (BadMessage, EndOfStream):
        pass
    finally:
        reader.close()


def _look_at(message: Message) -> None:
    with message, contextlib.suppress(BadMessage):
        # What decodes can be sent on: the forwarder does, and echoes must not take isod off the bus.
        encode_body(message.signature, message.body)


def policy(data: bytes) -> None:
    """isod.toml and one container's file: a policy or sentences, and a broken file never loses the last good one."""
    settings, _, container = data.partition(SEPARATOR)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        directory = Path(name)
        (directory / "containers").mkdir(mode=0o755)
        for path, text in ((directory / "isod.toml", settings), (directory / "containers/blog.toml", container)):
            path.write_bytes(text)
            path.chmod(0o644)
        result = load_policy(directory, owners=OWNERS)
        if not result.problems and "blog" not in result.policy.containers:
            raise AssertionError("a file was passed over in silence")
        if not all(str(problem).isprintable() for problem in result.problems):
            raise AssertionError("a sentence holds control characters")
        again = load_policy(directory, result.policy, owners=OWNERS)
        if again.policy.containers.keys() != result.policy.containers.keys():
            raise AssertionError("loading again gives other containers")


def guest_files(data: bytes) -> None:
    """What isod reads of a container's files: accounts, groups, desktop entries."""
    for account in parse_passwd(data).values():
        groups_of(data, account.name)
    application = parse_desktop_entry("x", data.decode(errors="replace"), ("de_DE", "de"))
    if application is not None and not (application.name.isprintable() and application.command):
        raise AssertionError("an application that can't be shown or run")


TARGETS: dict[str, Callable[[bytes], None]] = {"framing": framing, "policy": policy, "guest-files": guest_files}
