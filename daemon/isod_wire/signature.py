"""Parsed type signatures: dbus_next's tree, the checks that it lacks, and a cache with a bound.

This is the only module of the project that imports dbus_next.
"""

from typing import TYPE_CHECKING, Any, Protocol

from dbus_next.errors import InvalidSignatureError
from dbus_next.signature import SignatureTree

from isod_wire.errors import BadMessage


class SignatureType(Protocol):
    """One complete type: its token (`a`, `(`, `{`, `s`, ...) and the types inside it."""

    token: str
    children: list["SignatureType"]

    @property
    def signature(self) -> str:
        """The type as text."""


if TYPE_CHECKING:

    class Variant:
        """A value with its own signature, as dbus_next has it: structs are lists, `ay` is bytes."""

        type: SignatureType
        signature: str
        value: Any

        def __init__(self, signature: str, value: Any) -> None:
            """Check `value` against `signature` (dbus_next's errors) and keep both."""
else:
    from dbus_next.signature import Variant  # noqa: F401 - the branch above is the same name

MAX_SIGNATURE_CHARS = 255
MAX_CACHED_SIGNATURES = 1_024
MAX_CONTAINER_DEPTH = 32  # specification, "Valid Signatures": 32 arrays and 32 structs

_BASIC = frozenset("ybnqiuxtdsogh")
_CONTAINERS = frozenset("a({")
_ARRAY, _DICT_ENTRY = "a{"


class _BoundedCache(dict[Any, Any]):
    """A dict that forgets its oldest entry, since signatures come from strangers."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if len(self) >= MAX_CACHED_SIGNATURES:
            del self[next(iter(self))]
        super().__setitem__(key, value)


# dbus_next keeps every signature it ever saw (34 MiB for 4,000 of them); Variant() goes through this cache.
SignatureTree._cache = _BoundedCache()  # noqa: SLF001 - there is no public way to bound it


class ParsedSignature:
    """A valid signature with its types; `readers` and `writers` belong to the codec, which fills them once."""

    __slots__ = ("big_readers", "depth", "little_readers", "text", "types", "writers")

    def __init__(self, text: str) -> None:
        """Parse `text`; raises BadMessage if the specification forbids it."""
        if len(text) > MAX_SIGNATURE_CHARS:
            raise BadMessage("signature longer than 255 characters")
        try:
            tree = SignatureTree(text)
        except (InvalidSignatureError, IndexError) as error:
            raise BadMessage(f"invalid signature: {error}") from None
        self.text = text
        self.types: list[SignatureType] = tree.types
        shapes = [_measure(node, inside_array=False) for node in self.types]
        if any(max(arrays, structs) > MAX_CONTAINER_DEPTH for arrays, structs, _ in shapes):
            raise BadMessage("signature nested deeper than 32")
        self.depth: int = max((depth for _, _, depth in shapes), default=0)
        self.little_readers: Any = None
        self.big_readers: Any = None
        self.writers: Any = None


_cache: dict[str, ParsedSignature] = _BoundedCache()


def parse_signature(text: str) -> ParsedSignature:
    """Return the parsed form of `text` from the cache or make it; raises BadMessage if it is invalid."""
    parsed = _cache.get(text)
    if parsed is None:
        parsed = ParsedSignature(text)
        _cache[text] = parsed
    return parsed


def is_cached(text: str) -> bool:
    """Tell whether parsing `text` would be free; the decoder charges strangers for what is not."""
    return text in _cache


def _measure(node: SignatureType, *, inside_array: bool) -> tuple[int, int, int]:
    """Return how many arrays, structs (dict entries too), and of both but dict entries, lie inside one another.

    Raises BadMessage for what dbus_next accepts and the specification forbids: a dict entry outside an array, or with
    a key that is no basic type.
    """
    token = node.token
    if token not in _CONTAINERS:
        return 0, 0, 0
    if token == _DICT_ENTRY and not (inside_array and node.children[0].token in _BASIC):
        raise BadMessage("dict entry outside an array, or with a key that is no basic type")
    is_array = token == _ARRAY
    inner = [_measure(child, inside_array=is_array) for child in node.children if child.token in _CONTAINERS]
    arrays, structs, depth = map(max, zip(*inner, strict=True)) if inner else (0, 0, 0)
    return arrays + is_array, structs + (not is_array), depth + (token != _DICT_ENTRY)
