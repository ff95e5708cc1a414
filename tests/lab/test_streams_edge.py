"""Streams and arguments at their edges: devices, directories, files, what D-Bus cannot carry, children with pipes."""

import contextlib
import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.machine import Lab

TRY_TO_WRITE = """
import contextlib, os
for act in (
    lambda: os.write(0, b"changed"),
    lambda: os.ftruncate(0, 0),
    lambda: os.write(os.open("/proc/self/fd/0", os.O_WRONLY), b"changed"),
    lambda: os.close(os.open("/proc/self/fd/0", os.O_WRONLY | os.O_TRUNC)),
    lambda: os.write(os.open("/dev/stdin", os.O_RDWR), b"changed"),
    lambda: os.truncate("/proc/self/fd/0", 0),
):
    with contextlib.suppress(OSError):
        act()
"""

# Hand-made messages: no library marshals what the specification forbids.
RAW_CALL = """
import socket, struct, sys

def string(text):
    return struct.pack("<I", len(text)) + text + b"\\0"

def padded(data, size):
    return data + bytes(-len(data) % size)

def field(code, signature, value):
    head = bytes([code, len(signature)]) + signature + b"\\0"
    return head + string(value) if signature != b"g" else head + bytes([len(value)]) + value + b"\\0"

def message(serial, destination, path, interface, member, signature=b"", body=b""):
    fields = b""
    for code, kind, value in ((1, b"o", path), (2, b"s", interface), (3, b"s", member), (6, b"s", destination),
                              (8, b"g", signature)):
        if value:
            fields = padded(fields, 8) + field(code, kind, value)
    head = struct.pack("<BBBBIII", ord("l"), 1, 0, 1, len(body), serial, len(fields)) + fields
    return padded(head, 8) + body

argument = bytes.fromhex(sys.argv[1])
words = b""
for word in (b"echo", argument):
    words = padded(words, 4) + string(word)
body = padded(string(b"blog"), 4) + struct.pack("<I", len(words)) + words
body = padded(body, 4) + struct.pack("<I", 0)
body = padded(body, 8)
bus = socket.socket(socket.AF_UNIX)
bus.connect("/run/dbus/system_bus_socket")
bus.settimeout(20)
bus.sendall(b"\\0AUTH EXTERNAL\\r\\nDATA\\r\\nBEGIN\\r\\n")
received = b""
while b"OK " not in received or not received.endswith(b"\\r\\n"):
    received += bus.recv(4096)
bus.sendall(message(1, b"org.freedesktop.DBus", b"/org/freedesktop/DBus", b"org.freedesktop.DBus", b"Hello"))
bus.sendall(message(2, b"org.isoctl1", b"/org/isoctl1", b"org.isoctl1.Manager", b"Run", b"sasa{sv}", body))
received = b""
try:
    while b"/org/isoctl1/app/" not in received and b"InvalidArgument" not in received:
        data = bus.recv(4096)
        if not data:
            break
        received += data
except ConnectionError:
    pass
print("app" if b"/org/isoctl1/app/" in received else "refused" if b"InvalidArgument" in received else "disconnected")
"""


def launches(lab: Lab) -> int:
    return len(lab.journal(unit="isod.service", ISOCTL_KIND="launch"))


@pytest.fixture
def block_device(lab: Lab, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A loop device that alice may read and write, and the file behind it."""
    image = tmp_path / "image"
    image.write_bytes(os.urandom(1 << 20))
    made = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"this machine gives no loop device: {made.stderr.strip()}")
    device = made.stdout.strip()
    node = lab.host_path("/home/alice/disk")
    try:
        os.mknod(node, 0o666 | stat.S_IFBLK, os.stat(device).st_rdev)
        node.chmod(0o666)
        yield "/home/alice/disk", image
    finally:
        node.unlink(missing_ok=True)
        subprocess.run(["losetup", "--detach", device], check=True)


@pytest.mark.attack("C12")
def test_a_block_device_is_read_and_never_written(lab: Lab, block_device: tuple[str, Path]) -> None:
    """S20: what an app is given as stdin it could reopen; a device would be the whole disk."""
    node, image = block_device
    content = image.read_bytes()
    done = lab.run("sh", "-c", f"isoctl run blog cat < {node}", user="alice", raw=True)
    assert done.stdout == content
    script = f"isoctl run blog -- python3 -c '{TRY_TO_WRITE}' < {node}"
    lab.run("timeout", "30", "sh", "-c", script, user="alice", check=False)
    lab.run("blockdev", "--flushbufs", node)
    assert image.read_bytes() == content


def test_a_block_device_as_stdout_is_written_from_outside(lab: Lab, block_device: tuple[str, Path]) -> None:
    node, image = block_device
    before = image.read_bytes()
    lab.run("sh", "-c", f"isoctl run blog -- printf new > {node}", user="alice")
    lab.run("blockdev", "--flushbufs", node)
    assert image.read_bytes() == b"new" + before[3:]


@pytest.mark.attack("C12")
@pytest.mark.parametrize("mode", ["<", "<>"])
def test_an_app_cannot_write_to_the_file_it_reads(lab: Lab, mode: str) -> None:
    """CVE-2019-5736, CVE-2024-21626: a descriptor of the host's can be reopened with more rights."""
    lab.run("sh", "-c", "echo untouched > ~/notes; chmod 600 ~/notes", user="alice")
    script = f"isoctl run blog -- python3 -c '{TRY_TO_WRITE}' {mode} ~/notes"
    assert lab.run("timeout", "30", "sh", "-c", script, user="alice").stderr == ""
    assert lab.run("cat", "/home/alice/notes").stdout == "untouched\n"
    kind = lab.run("sh", "-c", "isoctl run blog -- readlink /proc/self/fd/0 < ~/notes", user="alice")
    assert kind.stdout.startswith("pipe:")


@pytest.mark.attack("C12")
@pytest.mark.parametrize("verb", ["run blog", "run -d blog", "exec blog --"])
@pytest.mark.parametrize("stream", ["< ~", "1< ~", "< /"])
def test_a_directory_starts_nothing_and_says_so(lab: Lab, verb: str, stream: str) -> None:
    """CVE-2024-21626: by a directory as stdin the host's root was in reach, measured. 1 would be the app's own code."""
    before = launches(lab)
    done = lab.run("sh", "-c", f"isoctl {verb} ls /proc/self/fd/0/ {stream}", user="alice", check=False)
    assert done.returncode == 125
    assert done.stderr.startswith("isoctl: ")
    assert done.stderr.count("\n") == 1
    assert "directory" in done.stderr
    assert launches(lab) == before


@pytest.mark.attack("C09")
@pytest.mark.parametrize("argument", [b"a\0b", b"caf\xe9", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"])
def test_what_is_no_string_of_d_bus_reaches_nothing(lab: Lab, argument: bytes) -> None:
    """Both brokers end the connection of whoever sends it; isod would refuse it by name, and nothing starts."""
    before = launches(lab)
    done = lab.run("python3", "-c", RAW_CALL, argument.hex(), user="alice")
    assert done.stdout.strip() in ("disconnected", "refused")
    assert launches(lab) == before
    well_formed = lab.run("python3", "-c", RAW_CALL, b"caf\xc3\xa9".hex(), user="alice")
    assert well_formed.stdout.strip() == "app"


@pytest.mark.attack("C09")
@pytest.mark.parametrize(
    ("argv", "named"),
    [
        ([], "argv:"),
        ([""], "argv[0]:"),
        (["true", *["x"] * 4096], "argv:"),
        (["echo", "ok", "x" * 131_072], "argv[2]:"),
    ],
    ids=["empty", "empty-command", "too-many", "too-long"],
)
def test_a_bad_argument_vector_is_named_by_position(lab: Lab, argv: list[str], named: str) -> None:
    script = (
        "import json, sys\n"
        "from jeepney import DBusAddress, new_method_call\n"
        "from jeepney.io.blocking import open_dbus_connection\n"
        "address = DBusAddress('/org/isoctl1', 'org.isoctl1', 'org.isoctl1.Manager')\n"
        "call = new_method_call(address, 'Run', 'sasa{sv}', ('blog', json.load(sys.stdin), {}))\n"
        "reply = open_dbus_connection('SYSTEM').send_and_get_reply(call)\n"
        "print(reply.header.fields[4], reply.body[0])\n"
    )
    done = lab.run("/usr/bin/python3", "-c", script, user="alice", stdin=json.dumps(argv).encode())
    assert done.stdout.startswith(f"org.isoctl1.Error.InvalidArgument {named}")


@pytest.mark.parametrize(("words", "position"), [((b"\xff",), 0), ((b"echo", b"ok", b"caf\xe9", b"x"), 2)])
def test_bytes_that_are_not_utf8_are_named_by_position(lab: Lab, words: tuple[bytes, ...], position: int) -> None:
    done = lab.run("isoctl", "run", "blog", "--", *map(os.fsdecode, words), user="alice", check=False)
    assert done.returncode == 2
    assert f"argument {position} of the command is not UTF-8" in done.stderr


def test_a_child_that_keeps_the_pipe_is_waited_for_as_on_the_host(lab: Lab) -> None:
    """As `$(sh -c 'sleep 2 & echo hi')` and ssh do: the reader sees the end when the last writer is gone."""
    script = "(sleep 2; echo late) & echo hi; exit 3"
    here = lab.run("sh", "-c", f"said=$(sh -c '{script}'); echo $? $said", user="alice")
    inside = lab.run("sh", "-c", f"said=$(isoctl run blog -- sh -c '{script}'); echo $? $said", user="alice")
    assert inside.stdout == here.stdout == "3 hi late\n"


def test_a_child_that_is_left_behind_does_not_hold_whoever_writes_to_a_file(lab: Lab) -> None:
    """The way out where nobody wants to wait, and what a terminal and a keybinding get anyway."""
    with contextlib.suppress(FileNotFoundError):
        lab.host_path("/home/alice/said").unlink()
    script = "isoctl run blog -- sh -c 'sleep 300 & echo hi' > ~/said 2>&1; cat ~/said; isoctl ps --json"
    done = lab.run("timeout", "60", "sh", "-c", script, user="alice")
    assert done.stdout.startswith("hi\n")
    assert "sleep 300" in done.stdout
    lab.in_container("blog", "pkill", "-f", "sleep 300")
