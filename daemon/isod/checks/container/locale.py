"""Language, time and terminal: what programs need so that what the session says means something inside."""

from collections.abc import Iterator

from isod.checks.facts import ContainerFacts
from isod_contract.findings import Problem, check


@check("locale-missing", "isod leaves it out, and programs speak English and sort by bytes")
def locale_missing(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a locale of the caller's that the container does not have."""
    if facts.running is None:
        return
    dropped = [entry for entry in facts.running.dropped_locales if entry.partition("=")[0] not in _set_by(facts)]
    if dropped:
        name, _, value = dropped[0].partition("=")
        yield Problem(
            f"it lacks the locale of {', '.join(dropped)}",
            f'add `environment.{name} = "C.UTF-8"` to /etc/isod/containers/{facts.name}.toml, or the locale: '
            f"`localedef -i {value.partition('.')[0]} -f UTF-8 {value}` inside; NixOS: i18n.supportedLocales",
        )


def _set_by(facts: ContainerFacts) -> frozenset[str]:
    """Give the variables of languages that policy sets: LC_ALL beats all, LANG counts where nothing else does."""
    own = frozenset(facts.policy.environment)
    named = frozenset(entry.partition("=")[0] for entry in facts.running.dropped_locales) if facts.running else own
    return named if "LC_ALL" in own else own


@check("terminfo-missing", "programs on a terminal draw less than it can, or refuse to start")
def terminfo_missing(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a terminal of the caller's of which the container has no description."""
    if facts.running is None or facts.running.unknown_terminal is None or "TERM" in facts.policy.environment:
        return
    asked, told = facts.running.unknown_terminal
    yield Problem(
        f"it does not know the terminal {asked}; " + (f"programs are told {told}" if told else "nor one that is near"),
        f"`{facts.inside} apt-get install -y ncurses-term`, or the entry of this host: `infocmp -x {asked} | "
        f"{facts.inside} tic -x -`; NixOS: environment.enableAllTerminfo",
    )


@check("zoneinfo-missing", "TZ means nothing inside, and times are in UTC")
def zoneinfo_missing(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a container without time zones: neither /usr/share/zoneinfo nor NixOS's TZDIR, /etc/zoneinfo."""
    if facts.running is not None and "zoneinfo" not in facts.running.inside.present:
        yield Problem(
            "it has no time zones, in /usr/share/zoneinfo or /etc/zoneinfo",
            f"`{facts.inside} apt-get install -y tzdata`; NixOS: time.timeZone in its configuration",
        )


@check("localtime-missing", "times are in UTC")
def localtime_missing(facts: ContainerFacts) -> Iterator[Problem]:
    """Report /etc/localtime that is not there or leads nowhere."""
    running = facts.running
    if running is not None and {"localtime", "zoneinfo"} & running.inside.present == {"zoneinfo"}:
        yield Problem(
            "/etc/localtime is not there or leads nowhere inside",
            f"`{facts.inside} ln -sf /usr/share/zoneinfo/Etc/UTC /etc/localtime`, with its time zone; NixOS: "
            "time.timeZone in its configuration",
        )
