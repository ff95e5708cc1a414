"""For whom a menu is made: which of a caller's variables count, and which of their session."""

import pytest

from isod.core.menu import desktops, languages


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        ({}, ()),
        ({"LANG": "C.UTF-8"}, ()),
        ({"LANG": "POSIX"}, ()),
        ({"LANG": "de_DE.UTF-8"}, ("de_DE", "de")),
        ({"LANG": "de_DE.UTF-8@euro"}, ("de_DE@euro", "de_DE", "de@euro", "de")),
        ({"LANG": "sr@latin"}, ("sr@latin", "sr")),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "fr_FR.UTF-8"}, ("fr_FR", "fr")),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C"}, ()),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "pt_BR:pt"}, ("pt_BR", "pt", "en_US", "en")),
        ({"LANG": "C", "LANGUAGE": "de"}, ()),
    ],
)
def test_menus_are_in_the_language_that_gettext_would_take(session: dict[str, str], expected: tuple[str, ...]) -> None:
    assert languages(session, ()) == expected


@pytest.mark.parametrize(
    ("hints", "expected"),
    [
        ((), ("fr_FR", "fr")),
        (("TZ=UTC", "LANG="), ("fr_FR", "fr")),
        (("LANG=de_DE.UTF-8",), ("de_DE", "de")),
        (("LANG=C",), ()),
    ],
)
def test_the_callers_language_goes_before_the_sessions(hints: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """D-24: `LANG=de_DE.UTF-8 isoctl menu` counts, whatever the session has; also against its LC_ALL."""
    assert languages({"LC_ALL": "fr_FR.UTF-8", "LANGUAGE": ""}, hints) == expected


def test_the_desktop_is_the_callers_else_the_sessions() -> None:
    assert desktops({}, ()) == ()
    assert desktops({"XDG_CURRENT_DESKTOP": "ubuntu:GNOME"}, ("LANG=C",)) == ("ubuntu", "GNOME")
    assert desktops({"XDG_CURRENT_DESKTOP": "GNOME"}, ("XDG_CURRENT_DESKTOP=sway",)) == ("sway",)
