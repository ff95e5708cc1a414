"""The account inside that apps run as: there, with the right number, and with no more rights than to be there."""

import shlex
from collections.abc import Iterator

from isod.checks.facts import ContainerFacts
from isod_contract.findings import Problem, check
from isod_contract.names import is_unit_user_name

# Not a right: Debian's adduser and NixOS put every user into it.
_HARMLESS = frozenset({"users", "nogroup"})


@check("account-missing", "every app runs as that account")
def account_missing(facts: ContainerFacts) -> Iterator[Problem]:
    """Report an account that the container does not have."""
    if facts.running is None or facts.running.account is not None:
        return
    if not facts.account_name:
        yield Problem(
            f"the caller's uid {facts.caller.uid} has no name on the host, so no account inside is theirs",
            f'say `user = "..."` in /etc/isod/containers/{facts.name}.toml',
        )
        return
    name, uid = facts.account_name, facts.caller.uid
    number = f" -u {uid}" if uid and name == facts.caller.user else ""
    # useradd has a stricter rule of its own, useradd(8).
    odd = "" if is_unit_user_name(name) else " --badname"
    yield Problem(
        f"it has no account {name!r}",
        f"`{facts.inside} useradd -m{odd}{number} -s /bin/sh {shlex.quote(name)}`; NixOS: {_nix(name)} in its "
        "configuration; or "
        f'`user = "..."` in /etc/isod/containers/{facts.name}.toml',
    )


@check("account-uid", "what is shared with the container belongs to somebody else there")
def account_uid(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a number that differs from the caller's own; another user's is a check of its own."""
    running, caller = facts.running, facts.caller
    if running is None or running.account is None or running.other_owner or caller.is_root:
        return
    if running.account.name == caller.user and running.account.uid != caller.uid:
        yield Problem(
            f"account {caller.user!r} has uid {running.account.uid} inside, and {caller.uid} on the host",
            _renumber(facts, running.account.name),
        )


@check("account-of-another", "that user could reach the app's files and processes, so isod refuses to start any")
def account_of_another(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a number that is another login user's on the host, without a user namespace in between."""
    running = facts.running
    if running is not None and running.account is not None and running.other_owner:
        yield Problem(
            f"account {running.account.name!r} has uid {running.account.uid}, which on the host is "
            f"{running.other_owner!r}",
            _renumber(facts, running.account.name),
        )


def _nix(name: str) -> str:
    """Give the option of an account in a NixOS configuration; what is no identifier of Nix's stands in quotes."""
    escaped = name.replace("\\", "\\\\").replace("${", "\\${")
    return f"users.users.{name}" if is_unit_user_name(name) else f'users.users."{escaped}"'


def _renumber(facts: ContainerFacts, name: str) -> str:
    uid = facts.caller.uid
    renumber = f"`{facts.inside} usermod -u {uid} {shlex.quote(name)}`"
    return f"{renumber}; NixOS: {_nix(name)}.uid = {uid}; in its configuration"


@check("account-groups", "a group may give an app rights that policy did not")
def account_groups(facts: ContainerFacts) -> Iterator[Problem]:
    """Report groups of an account beyond its own: wheel, sudo and the like (requirement R14)."""
    running = facts.running
    if running is None or running.account is None or running.account.uid == 0:
        return
    name = running.account.name
    extra = [group for group in running.inside.groups if group not in _HARMLESS and group != name]
    if extra:
        commands = " && ".join(shlex.join(["gpasswd", "-d", name, group]) for group in extra)
        yield Problem(
            f"account {name!r} is in the group{'s' if len(extra) > 1 else ''} {', '.join(extra)} inside",
            f"`{facts.inside} sh -c {shlex.quote(commands)}`; NixOS: {_nix(name)}.extraGroups = lib.mkForce [ ]; in "
            "its configuration",
        )
