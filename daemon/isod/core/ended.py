"""Apps that are over, kept for a while, since somebody may still ask how they ended."""

from collections import defaultdict
from collections.abc import Iterable

from isod.core.app import App

# Of each owner: nobody's apps make another's be forgotten. Argument vectors may be long, so their size counts too.
_KEPT_MAX, _KEPT_BYTES_MAX = 256, 2 * 1024 * 1024
# Whoever waits for one learns its end within this, also through a restart of isod or of the bus.
_ASKED_WITHIN_SEC = 60.0
# As long as that, so many more; and of so many is it known whether their caller is still there.
_FRESH_MAX, _FRESH_BYTES_MAX = 1024, 8 * 1024 * 1024
WAITED_FOR_MAX = 64


def to_forget(apps: Iterable[App], now_sec: float) -> list[App]:
    """Give those that are over for long enough, of owners who have too many, the oldest first.

    An app whose caller still holds its lifetime pipe, and one that ended within a minute, is kept while its owner does
    not have four times as many.
    """
    over: dict[int, list[App]] = defaultdict(list)
    for app in apps:
        if app.ended and not app.record.running:
            over[app.record.owner_uid].append(app)
    return [app for owned in over.values() for app in _too_many(owned, now_sec)]


def _too_many(over: list[App], now_sec: float) -> list[App]:
    over.sort(key=lambda app: app.ended_sec)
    count, size_bytes = len(over), sum(map(_size_bytes, over))
    forgotten = []
    for app in over:
        if count <= _KEPT_MAX and size_bytes <= _KEPT_BYTES_MAX:
            break
        is_fresh = app.lifetime_fd is not None or now_sec < app.ended_sec + _ASKED_WITHIN_SEC
        if is_fresh and count <= _FRESH_MAX and size_bytes <= _FRESH_BYTES_MAX:
            continue
        forgotten.append(app)
        count, size_bytes = count - 1, size_bytes - _size_bytes(app)
    return forgotten


def _size_bytes(app: App) -> int:
    return sum(map(len, (*app.record.argv, *app.record.problem)))
