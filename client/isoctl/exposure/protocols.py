"""What to say to servers whose first answer tells something, and how to read that; every answer is untrusted."""

import struct

# wl_display (object 1): get_registry as object 2, then sync as object 3 (Wayland protocol, "Wire Format").
WAYLAND_REQUEST = struct.pack("=IHHI", 1, 1, 12, 2) + struct.pack("=IHHI", 1, 0, 12, 3)
_REGISTRY, _GLOBAL = 2, 0
_INTERFACE_CHARS_MAX = 96
_GLOBALS_MAX = 256

# Version 11.0 without authorization data (X protocol, "Connection Setup").
X11_REQUEST = struct.pack("=BxHHHH2x", ord("l"), 11, 0, 0, 0)
_X11_SUCCESS = 1

# The worker protocol's hello, as a client of version 1.35: magic, version, no processor, no reserve (nix,
# src/libstore/worker-protocol-connection.cc).
NIX_REQUEST = struct.pack("<QQQQ", 0x6E697863, 0x123, 0, 0)
_NIX_MAGIC = 0x6478696F
_NIX_NAMES_ITSELF, _NIX_TELLS_TRUST = 0x121, 0x123
_NIX_TRUSTED = 1


def wayland_interfaces(untrusted_answer: bytes) -> dict[str, int]:
    """Give what a compositor offers, versions by interface; those up to where the answer is broken."""
    found: dict[str, int] = {}
    position = 0
    while position + 8 <= len(untrusted_answer) and len(found) < _GLOBALS_MAX:
        sender, word = struct.unpack_from("=II", untrusted_answer, position)
        size, opcode = word >> 16, word & 0xFFFF
        if size < 8 or position + size > len(untrusted_answer):
            break
        if (sender, opcode) == (_REGISTRY, _GLOBAL) and size >= 16:
            (length,) = struct.unpack_from("=I", untrusted_answer, position + 12)
            raw = untrusted_answer[position + 16 : position + min(size, 16 + length)].rstrip(b"\0")
            name = raw.decode("ascii", "replace")[:_INTERFACE_CHARS_MAX]
            end = position + 16 + (length + 3 & ~3)
            version = struct.unpack_from("=I", untrusted_answer, end)[0] if end + 4 <= position + size else 0
            found[name] = max(version, found.get(name, 0))
        position += size
    return found


def x11_accepts(untrusted_answer: bytes) -> bool:
    """Tell whether an X server lets the client in."""
    return untrusted_answer[:1] == bytes([_X11_SUCCESS])


def nix_trusts(untrusted_answer: bytes) -> bool | None:
    """Tell whether a Nix daemon trusts the client, None where it does not say."""
    if len(untrusted_answer) < 16:
        return None
    magic, version = struct.unpack_from("<QQ", untrusted_answer)
    if magic != _NIX_MAGIC or version < _NIX_TELLS_TRUST:
        return None
    position = 16
    if version >= _NIX_NAMES_ITSELF:
        if len(untrusted_answer) < position + 8:
            return None
        (length,) = struct.unpack_from("<Q", untrusted_answer, position)
        position += 8 + length + -length % 8
    if len(untrusted_answer) < position + 8:
        return None
    (trust,) = struct.unpack_from("<Q", untrusted_answer, position)
    return bool(trust == _NIX_TRUSTED) if trust else None
