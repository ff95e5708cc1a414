"""What stands in a request to isod-helper, taken out of it one by one so that nothing is left over."""

_NUMBER_MAX = 0xFFFF_FFFE


def text(request: dict[str, object], key: str) -> str:
    """Take a text that is not empty. Raises ValueError."""
    value = request.pop(key, None)
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"{key} must be a text")
    return value


def name(request: dict[str, object], key: str) -> str:
    """Take a text that is one entry of a directory. Raises ValueError."""
    value = text(request, key)
    if "/" in value or value in {".", ".."}:
        raise ValueError(f"{key} is not the name of an entry")
    return value


def number(request: dict[str, object], key: str) -> int:
    """Take a uid. Raises ValueError."""
    value = request.pop(key, None)
    if type(value) is not int or not 0 <= value <= _NUMBER_MAX:
        raise ValueError(f"{key} must be a uid")
    return value


def check_rest(request: dict[str, object], fds: list[int], count: int) -> None:
    """Check that nothing is left, and the number of descriptors. Raises ValueError."""
    if request or len(fds) != count:
        raise ValueError(f"takes {count} descriptors, and no other keys")
