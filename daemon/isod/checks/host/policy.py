"""The policy files: refused, not read again, or naming accounts that are not there."""

from collections.abc import Iterator

from isod.checks.facts import HostFacts
from isod_contract.findings import Problem, check


@check("policy-refused", "isod goes by what it could read")
def policy_refused(facts: HostFacts) -> Iterator[Problem]:
    """Report policy files that isod could not take; their text is for root."""
    for problem in facts.policy.problems:
        place = str(problem).removesuffix(f": {problem.text}")
        text = str(problem) if facts.caller.is_root else place
        yield Problem(
            f"isod refuses {text}; {problem.effect}",
            f"{problem.way_out}, then `isoctl reload`, which says what is left",
        )


@check("policy-stale", "isod acts on what it read last")
def policy_stale(facts: HostFacts) -> Iterator[Problem]:
    """Report policy files that changed since."""
    if facts.policy.is_stale:
        yield Problem(
            "policy files changed after isod read them", "`isoctl reload`; with --dry-run it says what changes"
        )


@check("policy-no-account", "such a name admits nobody")
def policy_no_account(facts: HostFacts) -> Iterator[Problem]:
    """Report names in policy that the host does not know, usually mistyped; which, is for root."""
    for container, keys in facts.policy.unknown.items():
        for key, names in keys.items():
            kind = "group" if key == "groups" else "user"
            named = ", ".join(map(repr, names)) if facts.caller.is_root else "that stands there"
            yield Problem(
                f"{key} of /etc/isod/containers/{container}.toml: this host has no {kind} {named}",
                "correct the name there (or in [defaults] of /etc/isod/isod.toml), then `isoctl reload`; `getent "
                "passwd` and `getent group` list those that there are",
            )
