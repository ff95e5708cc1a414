"""The caller's session, as isod-session told isod of it."""

from collections.abc import Iterator

from isod.checks.facts import HostFacts
from isod_contract.findings import Problem, check


@check("session-missing", "apps get no windows")
def session_missing(facts: HostFacts) -> Iterator[Problem]:
    """Report a caller with a display whose isod-session is not there."""
    if facts.session is None and facts.hints.get("WAYLAND_DISPLAY") and not facts.caller.is_root:
        yield Problem(
            "isod-session of this desktop has not registered with isod",
            "`systemctl --user start isod-session`; `journalctl --user -u isod-session` says why it does not run",
        )


@check("compositor-missing", "apps get no windows")
def compositor_missing(facts: HostFacts) -> Iterator[Problem]:
    """Report a session service that finds no compositor, though the caller names one."""
    if facts.session is not None and not facts.session.wayland and facts.hints.get("WAYLAND_DISPLAY"):
        yield Problem(
            f"isod-session finds no Wayland compositor, and WAYLAND_DISPLAY is {facts.hints['WAYLAND_DISPLAY']!r} here",
            "`systemctl --user restart isod-session` from a terminal of the desktop",
        )


@check("compositor-beyond-windows", 'an app in a container with `wayland = "secured"` can use that')
def compositor_beyond_windows(facts: HostFacts) -> Iterator[Problem]:
    """Report a compositor that gives contained apps what is not known to be harmless."""
    session = facts.session
    if session and session.exposed and session.wayland in ("context", "plain") and facts.wayland_levels & {"secured"}:
        yield Problem(
            f"the compositor offers apps in containers more than windows: {', '.join(session.exposed)}",
            'use one that hides these, as sway and labwc do; or `grants.wayland = "none"` in the policy of a container '
            "that must not have them",
        )


@check("compositor-unsafe", "an app could read the screen or type into other windows, so it gets no display")
def compositor_unsafe(facts: HostFacts) -> Iterator[Problem]:
    """Report a compositor that can't isolate clients, by its registry as isod-session read it."""
    if facts.session is not None and facts.session.wayland == "unsafe" and facts.wayland_levels & {"secured"}:
        yield Problem(
            f"the compositor offers {', '.join(facts.session.exposed)} to every client",
            'use one with security contexts, as sway 1.9 and later; or `grants.wayland = "raw"` in the policy of a '
            "container that may have all of that",
        )
