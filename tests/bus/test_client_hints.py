"""Sentences that isoctl adds where the surroundings explain what a program or isod says."""

from collections.abc import Iterator

import pytest

from buses import Bus
from client import Isoctl
from fakeisod import FakeIsod, fake_isod
from screen import Screen

GUESSES = "polkit refused org.isoctl1.root: a rule, a wrong password, or your session is not active at this computer"


@pytest.fixture
def isod(bus: Bus) -> Iterator[FakeIsod]:
    with fake_isod(bus.address) as running:
        yield running


@pytest.mark.parametrize(
    ("script", "flags", "display", "is_told"),
    [
        ("echo failed to connect to wayland; exit 230", [], "", True),
        ("echo cannot open display: >&2; exit 1", [], "", True),
        ("echo cannot open display: >&2; exit 1", ["-T"], "", True),
        ("echo cannot open display: >&2; exit 1", [], ":7", False),
        ("echo cannot open display: >&2; exit 1", ["-q"], "", False),
        ("echo cannot open display: >&2; exit 1", ["--display=none"], "", False),
        ("echo cannot open display: >&2", [], "", False),
        ("echo no match; exit 1", [], "", False),
        ("exec display-of-images", [], "", False),
    ],
)
def test_a_program_that_misses_a_display_is_explained(
    screen: Screen, script: str, flags: list[str], display: str, is_told: bool
) -> None:
    """N22: from ssh, su and cron a program with windows gave its toolkit's error alone."""
    if display:
        screen.isoctl.environment["DISPLAY"] = display
    screen.start("run", *flags, "blog", "sh", "-c", script).wait(10)
    shown = screen.read_all()
    sentence = b"`isoctl run --display require blog sh` takes that of your desktop's session"
    assert (sentence in shown) == is_told
    assert screen.is_as_before()


@pytest.mark.parametrize(
    ("variables", "words", "is_told"),
    [
        ({"SUDO_USER": "alice"}, ["run", "blog"], True),
        ({"DOAS_USER": "alice"}, ["run", "blog"], True),
        ({"SUDO_USER": "alice"}, ["run", "-q", "blog"], False),
        ({"SUDO_USER": "alice"}, ["run", "alice@blog"], False),
        ({"SUDO_USER": "alice"}, ["run", "-u", "root", "blog"], False),
        ({}, ["run", "blog"], False),
    ],
)
def test_who_types_sudo_is_told_who_they_are_inside(
    screen: Screen, variables: dict[str, str], words: list[str], is_told: bool
) -> None:
    """N14: `sudo isoctl run blog X` was root inside, silently; every user of Ubuntu types it at the first error."""
    screen.isoctl.environment |= variables
    assert screen.start(*words, "echo", "ran").wait(10) == 0
    shown = screen.read_all()
    assert b"ran" in shown
    assert (b"isoctl: as root of blog; without sudo it runs as alice\r\n" in shown) == is_told


@pytest.mark.parametrize("verb", [["run", "blog", "true"], ["start", "blog"]])
@pytest.mark.parametrize("environment", [{"SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"}, {}])
def test_a_refusal_of_polkit_from_ssh_is_no_guess(
    bus: Bus, isod: FakeIsod, verb: list[str], environment: dict[str, str]
) -> None:
    """N23: it named three reasons, of which it was always the third."""
    isod.run_error = ("org.isoctl1.Error.NotAuthorized", f"not permitted: {GUESSES}")
    isod.answers["GetContainer"] = ("o", ("/org/isoctl1/container/blog",))
    isod.answers["GetAll"] = ("a{sv}", ({"State": ("s", "stopped")},))
    isod.refused = {"Start": isod.run_error}
    done = Isoctl(bus.address).run(*verb, environment=environment)
    assert done.stderr.decode().count("\n") == 1
    if environment:
        assert (
            b"polkit refused org.isoctl1.root: your session is not one at this computer; ask from there" in done.stderr
        )
        assert b"wrong password" not in done.stderr
    else:
        assert GUESSES.encode() in done.stderr
