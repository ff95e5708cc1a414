"""The clipboard of a container's X server, whose clients may say anything: nothing moves unless the user asks."""

import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isod_contract.limits import CLIPBOARD_BYTES_MAX
from isod_session import xclipboard
from isod_session.x11wire import MAP_REQUEST, SELECTION_NOTIFY, SELECTION_REQUEST, Event
from isod_session.xclipboard import Clipboard

WINDOW, CLIENT = 77, 99


class FakeX:
    """An X connection that records requests; atoms are numbered in the order of asking."""

    def __init__(self) -> None:
        self.atoms: dict[str, int] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.holds: tuple[bytes, str, bool] = (b"", "UTF8_STRING", True)

    def atom(self, name: str) -> int:
        return self.atoms.setdefault(name, 1000 + len(self.atoms))

    def create_window(self) -> int:
        return WINDOW

    def take_property(self, _window: int, _name: int, _most: int) -> tuple[bytes, int, bool]:
        data, kind, is_whole = self.holds
        return data, self.atom(kind), is_whole

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, *arguments))


class Desk:
    def __init__(self, path: Path) -> None:
        self.x, self.path = FakeX(), path / "clipboard-blog"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen(4)
        self.clipboard = Clipboard(self.x, listener)  # type: ignore[arg-type]

    def ask(self, request: bytes) -> socket.socket:
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(5)
        peer.connect(str(self.path))
        peer.sendall(request)
        peer.shutdown(socket.SHUT_WR)
        self.clipboard.accept()
        return peer

    def answered(self, peer: socket.socket) -> str:
        with peer:
            return b"".join(iter(lambda: peer.recv(1 << 16), b"")).decode()

    def notify(self, name: int, window: int = WINDOW) -> bool:
        data = struct.pack("<B3xIIIII", SELECTION_NOTIFY, 0, window, 1, 1, name).ljust(32, b"\0")
        return self.clipboard.handle(Event(SELECTION_NOTIFY, data))

    def request(self, target: int, name: int = 5) -> tuple[Any, ...]:
        """Paste as a client; gives the last request, which tells it."""
        data = struct.pack("<B3xIIIIII", SELECTION_REQUEST, 0, WINDOW, CLIENT, 1, target, name).ljust(32, b"\0")
        assert self.clipboard.handle(Event(SELECTION_REQUEST, data))
        last: tuple[Any, ...] = self.x.calls[-1]
        return last


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.clipboard.close()


def test_text_is_read_when_asked_and_at_no_other_time(desk: Desk) -> None:
    assert desk.x.calls == []
    assert desk.notify(5)  # a forged one
    peer = desk.ask(b"copy\n")
    assert [call[0] for call in desk.x.calls] == ["convert_selection"]
    assert desk.notify(5, window=CLIENT)
    assert desk.clipboard.is_asking
    desk.x.holds = ("süß\n".encode(), "UTF8_STRING", True)
    desk.notify(5)
    assert desk.answered(peer) == "ok\nsüß\n"
    assert not desk.clipboard.is_asking


@pytest.mark.parametrize(
    ("name", "holds", "answer"),
    [
        (0, (b"", "UTF8_STRING", True), "no text was copied"),
        (5, (b"", "UTF8_STRING", True), "no text was copied"),
        (5, (b"x", "UTF8_STRING", False), "larger than"),
        (5, (b"\0\0\0\1", "INCR", True), "larger than"),
        (5, (b"\xff\xfe", "UTF8_STRING", True), "no text in UTF-8"),
    ],
)
def test_what_is_no_text_is_told_in_a_line(desk: Desk, name: int, holds: tuple[bytes, str, bool], answer: str) -> None:
    peer = desk.ask(b"copy\n")
    desk.x.holds = holds
    desk.notify(name)
    told = desk.answered(peer)
    assert answer in told
    assert not told.startswith("ok")
    assert told.count("\n") == 1


def test_who_never_answers_is_given_up_and_a_second_asker_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xclipboard, "CLIPBOARD_TIMEOUT_SEC", 0.0)
    first, second = desk.ask(b"copy\n"), desk.ask(b"copy\n")
    assert "already" in desk.answered(second)
    desk.clipboard.give_up()
    assert "gave none" in desk.answered(first)


def test_pasted_text_is_given_to_clients_that_ask_in_the_encoding_that_they_want(desk: Desk) -> None:
    assert desk.answered(desk.ask("paste\nzwölf €".encode())) == "ok\n"
    assert ("own_selection", WINDOW, desk.x.atom("CLIPBOARD")) in desk.x.calls
    utf8 = desk.x.atom("UTF8_STRING")
    assert desk.request(utf8)[-1] == 5
    assert ("set_bytes", CLIENT, 5, utf8, "zwölf €".encode()) in desk.x.calls
    desk.request(31)
    assert ("set_bytes", CLIENT, 5, 31, "zwölf ?".encode("latin-1")) in desk.x.calls
    # an obsolete client names no property, and one that wants a picture gets none
    assert desk.request(utf8, 0)[-1] == utf8
    assert desk.request(desk.x.atom("image/png"))[-1] == 0
    desk.request(desk.x.atom("TARGETS"))
    assert utf8 in next(call for call in desk.x.calls if call[0] == "set_property")[-1]


@pytest.mark.parametrize("request_", [b"paste\n" + b"x" * (CLIPBOARD_BYTES_MAX + 1), b"paste\n\xff"])
def test_a_text_that_can_not_be_pasted_is_refused(desk: Desk, request_: bytes) -> None:
    assert not desk.answered(desk.ask(request_)).startswith("ok")
    assert desk.x.calls == []


def test_other_events_are_the_window_managers(desk: Desk) -> None:
    assert not desk.clipboard.handle(Event(MAP_REQUEST, bytes(32)))
