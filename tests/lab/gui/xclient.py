"""An X client that tries what no client of a container may do; runs inside, by Python's standard library alone.

Usage: xclient.py COMMAND ...; prints one JSON value. Requests as in x11protocol.txt and the extensions' documents.
"""

import array
import json
import os
import socket
import struct
import sys
import time

ERRORS = {
    1: "BadRequest",
    2: "BadValue",
    8: "BadMatch",
    9: "BadDrawable",
    10: "BadAccess",
    11: "BadAlloc",
    16: "BadLength",
    17: "BadImplementation",
}


class X:
    def __init__(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(os.environ["DISPLAY"])
        self.sock.sendall(struct.pack("<BxHHHHxx", 0x6C, 11, 0, 0, 0))
        self.fds = array.array("i")
        head = self.take(8)
        self.setup = self.take(4 * struct.unpack_from("<H", head, 6)[0])
        self.base = struct.unpack_from("<I", self.setup, 4)[0]
        vendor, formats = struct.unpack_from("<H", self.setup, 16)[0], self.setup[21]
        self.root = struct.unpack_from("<I", self.setup, 32 + (vendor + 3 & ~3) + formats * 8)[0]
        self.sequence = 0

    def take(self, size):
        data = b""
        while len(data) < size:
            chunk, ancillary, _, _ = self.sock.recvmsg(size - len(data), socket.CMSG_SPACE(64))
            if not chunk:
                raise ConnectionError("the server hung up")
            for _, _, content in ancillary:
                self.fds.frombytes(content[: len(content) // 4 * 4])
            data += chunk
        return data

    def new(self):
        self.base += 1
        return self.base

    def send(self, opcode, detail, body=b"", fds=()):
        self.sequence += 1
        data = struct.pack("<BBH", opcode, detail, 1 + len(body) // 4) + body
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.sock.sendmsg([data], rights)
        return self.sequence

    def ask(self, opcode, detail, body=b"", fds=()):
        """Give the reply or the name of the error; "ok" for a request that has neither."""
        wanted = self.send(opcode, detail, body, fds)
        last = self.send(43, 0)  # GetInputFocus
        found = "ok"
        while True:
            data = self.take(32)
            number = struct.unpack_from("<H", data, 2)[0]
            if data[0] == 1:
                data += self.take(4 * struct.unpack_from("<I", data, 4)[0])
            if number == last & 0xFFFF and data[0] < 2:
                return found
            if number == wanted & 0xFFFF and data[0] < 2:
                found = data if data[0] == 1 else ERRORS.get(data[1], f"error {data[1]}")

    def extension(self, name):
        reply = self.ask(98, 0, struct.pack("<Hxx", len(name)) + name.encode() + b"\0" * (-len(name) % 4))
        return reply[9] if reply[8] else 0


def extensions():
    reply = X().ask(99, 0)
    names, offset = [], 32
    for _ in range(reply[1]):
        names.append(reply[offset + 1 : offset + 1 + reply[offset]].decode())
        offset += 1 + reply[offset]
    return sorted(names)


def shm(number):
    """MIT-SHM: attach a segment of the host's by its number, and read it."""
    x = X()
    major = x.extension("MIT-SHM")
    if not major:
        return "absent"
    tried = {}
    for read_only in (0, 1):
        tried[f"read only {read_only}"] = x.ask(major, 1, struct.pack("<IIBxxx", x.new(), int(number), read_only))
    return tried


def every_shm():
    """Look through the numbers as a client that knows none; gives those that can be attached."""
    x = X()
    major = x.extension("MIT-SHM")
    return [
        n
        for k in range(64)
        for n in [k + 32768 * j for j in range(4)]
        if major and x.ask(major, 1, struct.pack("<IIBxxx", x.new(), n, 1)) == "ok"
    ]


def dri3():
    """DRI3Open: gives the descriptors that the server hands out."""
    x = X()
    major = x.extension("DRI3")
    if not major:
        return "absent"
    x.ask(major, 0, struct.pack("<II", 1, 2))
    answer = x.ask(major, 1, struct.pack("<II", x.root, 0))
    return [answer if isinstance(answer, str) else "reply", [os.readlink(f"/proc/self/fd/{fd}") for fd in x.fds]]


def font_path(path):
    return X().ask(51, 0, pad(struct.pack("<Hxx", 1) + bytes([len(path)]) + path.encode()))


def pad(data):
    return data + b"\0" * (-len(data) % 4)


def memory(count):
    """Make pixmaps of 256 MiB and draw into them; gives how each ended."""
    x, ended = X(), []
    for _ in range(int(count)):
        pixmap, gc = x.new(), x.new()
        made = x.ask(53, 24, struct.pack("<IIHH", pixmap, x.root, 8192, 8192))
        if made == "ok":
            x.ask(55, 0, struct.pack("<III", gc, pixmap, 0))
            made = x.ask(70, 0, struct.pack("<IIhhHH", pixmap, gc, 0, 0, 8192, 8192))
        ended.append(made)
    return ended


def kill_manager():
    """End the window manager, which is the server's own client."""
    x = X()
    name = b"_NET_SUPPORTING_WM_CHECK"
    atom = struct.unpack_from("<I", x.ask(16, 1, struct.pack("<Hxx", len(name)) + name), 8)[0]
    reply = x.ask(20, 0, struct.pack("<IIIII", x.root, atom, 0, 0, 1)) if atom else b""
    if len(reply) < 36:
        return "none"
    try:
        return x.ask(113, 0, reply[32:36])
    except ConnectionError:
        return "gone"


def kill_for(seconds):
    """Do that as often as it goes; gives how many connections there were and how many servers were ended."""
    end, connected, ended = time.monotonic() + float(seconds), 0, 0
    while time.monotonic() < end:
        try:
            ended += kill_manager() in ("ok", "gone")
            connected += 1
        except (OSError, struct.error, ConnectionError):
            time.sleep(0.01)
    return [connected, ended]


def garbage():
    """Send each request and extension request with bytes that mean nothing; gives whether the server still answers."""
    for opcode in range(1, 255):
        try:
            x = X()
            for detail in range(8):
                x.send(opcode, detail, os.urandom(40))
            x.ask(43, 0)
        except (OSError, ConnectionError):
            continue
    return bool(X().root)


COMMANDS = {
    f.__name__: f for f in (extensions, shm, every_shm, dri3, font_path, memory, kill_manager, kill_for, garbage)
}

if __name__ == "__main__":
    try:
        result = COMMANDS[sys.argv[1]](*sys.argv[2:])
    except (OSError, ConnectionError) as error:
        result = f"no server: {error}"
    print(json.dumps(result))
