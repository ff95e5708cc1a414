"""What a screen shows, as pixels that tests can ask about."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Box:
    """A rectangle of a screen or picture."""

    x: int
    y: int
    width: int
    height: int

    def inset(self, by: int) -> Box:
        """The same without its outer pixels."""
        return Box(self.x + by, self.y + by, self.width - 2 * by, self.height - 2 * by)

    def scaled(self, by: int) -> Box:
        """The same in the pixels of an output of this scale."""
        return Box(self.x * by, self.y * by, self.width * by, self.height * by)


@dataclass(frozen=True)
class Picture:
    """Rows of red, green and blue bytes."""

    width: int
    height: int
    data: bytes

    @classmethod
    def from_ppm(cls, ppm: bytes) -> Picture:
        """Read the binary form (P6, 8 bits), as grim and others write it."""
        magic, width, height, rest = ppm.split(maxsplit=3)
        # one white space ends the header: the next byte is a pixel even if it looks like one more
        depth, _, data = rest.partition(b"\n")
        if (magic, depth) != (b"P6", b"255") or len(data) != int(width) * int(height) * 3:
            raise ValueError(f"no picture: {ppm[:40]!r}, {len(ppm)} bytes")
        return cls(int(width), int(height), data)

    def pixel(self, x: int, y: int) -> Colour:
        """The colour of one pixel."""
        red, green, blue = self.data[(y * self.width + x) * 3 :][:3]
        return red, green, blue

    def crop(self, box: Box) -> Picture:
        """A part of it; what lies outside is left away."""
        left, top = max(0, box.x), max(0, box.y)
        right, bottom = min(self.width, box.x + box.width), min(self.height, box.y + box.height)
        rows = (self.data[(y * self.width + left) * 3 : (y * self.width + right) * 3] for y in range(top, bottom))
        return Picture(max(0, right - left), max(0, bottom - top), b"".join(rows))

    def colours(self) -> Counter[Colour]:
        """How many pixels there are of each colour."""
        return Counter(struct.iter_unpack("3B", self.data))

    def share(self, colour: Colour, tolerance: int = 8) -> float:
        """The part of all pixels that has about this colour, 0 to 1."""
        return sum(n for seen, n in self.colours().items() if _close(seen, colour, tolerance)) / self._pixels

    def share_differing(self, other: Picture) -> float:
        """The part of all pixels in which two pictures of one size differ, 0 to 1."""
        if (self.width, self.height) != (other.width, other.height):
            raise ValueError(f"{self.width}x{self.height} against {other.width}x{other.height}")
        pairs = zip(struct.iter_unpack("3s", self.data), struct.iter_unpack("3s", other.data), strict=True)
        return sum(one != two for one, two in pairs) / self._pixels

    @property
    def _pixels(self) -> int:
        return max(1, self.width * self.height)

    def to_png(self) -> bytes:
        """The picture as a PNG file, for people to look at."""
        stride = self.width * 3
        rows = b"".join(b"\0" + self.data[y * stride : (y + 1) * stride] for y in range(self.height))
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)

    def save(self, path: Path) -> None:
        """Write it as PNG."""
        path.write_bytes(self.to_png())


def _close(one: Colour, other: Colour, tolerance: int) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(one, other, strict=True))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
