"""How long a program that ended is left alone."""

from isod_session.backoff import Backoff


def test_the_wait_doubles_up_to_a_minute_and_a_long_life_ends_it() -> None:
    backoff, now_sec, waits = Backoff(), 1000.0, []
    for _ in range(9):
        backoff.started(now_sec)
        now_sec += 0.1
        waits.append(backoff.ended(now_sec, well=False))
        now_sec += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    backoff.started(now_sec)
    assert backoff.ended(now_sec + 11, well=False) == 0
    backoff.started(now_sec + 20)
    assert backoff.ended(now_sec + 21, well=False) == 1


def test_starts_are_bounded_also_where_each_server_ends_well() -> None:
    """A client that comes and goes costs the user's processor, not the container's."""
    backoff, now_sec, starts = Backoff(), 1000.0, 0
    while now_sec < 1000.0 + 600:
        backoff.started(now_sec)
        starts += 1
        now_sec += 1.0
        now_sec += backoff.ended(now_sec, well=True)
    assert starts <= 110
