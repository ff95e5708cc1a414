"""For whom a menu of applications is made: the languages and the desktops that a caller's variables name."""

from collections.abc import Iterable, Mapping, Sequence

_OF_LANGUAGE = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")


def languages(session: Mapping[str, str], hints: Iterable[str]) -> tuple[str, ...]:
    """Give the languages for texts of desktop entries, the most wanted first, as those files name them.

    `hints` are the caller's own, NAME=VALUE. If they name a language at all, the session's is not asked: `LANG=de
    isoctl menu` means what it says, whatever LC_ALL the session has. Sources: gettext(3) for the order of the
    variables, and the Desktop Entry Specification (Localized values for keys) for the names.
    """
    given = _of(hints)
    variables: Mapping[str, str] = given if any(given.get(name) for name in _OF_LANGUAGE) else session
    locale = next((variables[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if variables.get(name)), "C")
    if locale.partition(".")[0] in ("C", "POSIX"):
        return ()
    wanted = [*filter(None, variables.get("LANGUAGE", "").split(":")), locale]
    return tuple(dict.fromkeys(name for locale in wanted for name in _names(locale)))


def desktops(session: Mapping[str, str], hints: Iterable[str]) -> Sequence[str]:
    """Give the names of the desktop that the caller sits at, the most exact first (XDG_CURRENT_DESKTOP)."""
    variable = "XDG_CURRENT_DESKTOP"
    return tuple(filter(None, (_of(hints).get(variable) or session.get(variable, "")).split(":")))


def _of(hints: Iterable[str]) -> dict[str, str]:
    return dict(entry.split("=", 1) for entry in hints)


def _names(locale: str) -> list[str]:
    """Give lang_COUNTRY@MODIFIER, lang_COUNTRY, lang@MODIFIER and lang, as far as the locale has them."""
    base, _, modifier = locale.partition("@")
    base = base.partition(".")[0]
    suffixes = (f"@{modifier}", "") if modifier else ("",)
    return [name + suffix for name in (base, base.partition("_")[0]) for suffix in suffixes]
