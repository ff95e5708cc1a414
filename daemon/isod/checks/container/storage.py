"""Room and owners of a container's files: what programs need to write, and whose the home is."""

import shlex
from collections.abc import Iterator

from isod.checks.facts import ContainerFacts
from isod.ports import Account
from isod.survey_ports import Space
from isod_contract.findings import Problem, check

_MIB = 1 << 20
# What one program unpacks or compiles goes beyond it.
_TMP_TINY_BYTES = 128 * _MIB


def _shortage(space: Space) -> str:
    """Say what a file system is short of: less than a hundredth, or 64 MiB, left; "" for nothing."""
    least = min(max(space.total_bytes // 100, 64 * _MIB), space.total_bytes // 10)
    if space.total_bytes and space.free_bytes < least:
        return f"{space.free_bytes // _MIB} of {space.total_bytes // _MIB} MiB free"
    if space.total_inodes and space.free_inodes * 100 < space.total_inodes:
        return f"{space.free_inodes} of {space.total_inodes} inodes free"
    return ""


@check("disk-full", "programs fail in odd ways, and so may its next start")
def disk_full(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a root file system that is short of room."""
    lack = _shortage(facts.running.inside.space) if facts.running else ""
    if lack:
        how = "-x --inodes -d2" if "inodes" in lack else "-xhd2"
        yield Problem(f"its root file system has {lack}", f"`{facts.inside} du {how} /` shows what is large")


@check("tmp-full", "programs that write there fail, some of them without a word")
def tmp_full(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a /tmp of its own that is full, or too small to be of use: nspawn makes it of a tenth of the memory."""
    if facts.running is None:
        return
    space = facts.running.places.tmp
    lack = _shortage(space)
    if not lack and 0 < space.total_bytes < _TMP_TINY_BYTES:
        lack = f"{space.total_bytes // _MIB} MiB in all"
    if lack:
        yield Problem(
            f"the file system of /tmp inside has {lack}",
            f"`{facts.inside} du -xhd1 /tmp` shows what is large; to have it on the disk from its next start on: "
            f"Environment=SYSTEMD_NSPAWN_TMPFS_TMP=0 for {facts.unit} (`systemctl edit`), and tmp.mount masked inside",
        )


@check("root-shifted", "programs in it can't read their own files, and it may not boot")
def root_shifted(facts: ContainerFacts) -> Iterator[Problem]:
    """Report files whose owners are shifted by another number than the container's users are."""
    running = facts.running
    if running is None or running.inside.root_owner in (None, running.uid_shift):
        return
    yield Problem(
        f"its files belong to uids from {running.inside.root_owner} on, and its root is uid {running.uid_shift}",
        f"`systemctl stop {facts.unit} && systemd-nspawn -D {shlex.quote(facts.root)} "
        f"--private-users={running.uid_shift} --private-users-ownership=chown true` gives them their owners; "
        "PrivateUsersOwnership=map in its .nspawn file keeps them",
    )


@check("home-unusable", "apps start in / and keep no settings, or do not start")
def home_unusable(facts: ContainerFacts) -> Iterator[Problem]:
    """Report an account's home that is not there, or not the account's own."""
    running = facts.running
    if running is None or running.account is None or not running.places.home or _is_shifted(facts):
        return
    account, caller = running.account, facts.caller
    if running.other_owner or (account.name == caller.user and account.uid != caller.uid):
        return  # the number is wrong, and not the home
    yield Problem(
        f"the home of account {account.name!r}, {account.home}, {running.places.home}", _own_home(facts, account)
    )


def _own_home(facts: ContainerFacts, account: Account) -> str:
    name, home = shlex.quote(account.name), shlex.quote(account.home)
    if account.home.strip("/").count("/") == 0:  # / or /nonexistent, which must not become the account's
        return f"`{facts.inside} usermod -d /home/{name} {name}`, then the same for that directory"
    make = f"install -d -m 700 -o {name} -g $(id -g {name}) {home}"
    return f"`{facts.inside} sh -c {shlex.quote(make)}`, unless what is there is another's"


@check("share-parents", "programs can't make anything in them, and settings are lost")
def share_parents(facts: ContainerFacts) -> Iterator[Problem]:
    """Report directories of the home that systemd-nspawn made, as root, for what is mounted below them."""
    running = facts.running
    if running is None or running.account is None or not running.places.parents or _is_shifted(facts):
        return
    parents = running.places.parents
    yield Problem(
        f"{', '.join(parents)} in the home of {running.account.name!r} belong{'s' if len(parents) == 1 else ''} to "
        "root, as systemd-nspawn makes them for mounts below",
        f"`{facts.inside} {shlex.join(['chown', f'{running.account.name}:', *parents])}`",
    )


def _is_shifted(facts: ContainerFacts) -> bool:
    """Tell whether all owners are wrong, which is a finding of its own."""
    running = facts.running
    return running is not None and running.inside.root_owner not in (None, running.uid_shift)


@check("not-looked-at", "faults there stay unknown")
def not_looked_at(facts: ContainerFacts) -> Iterator[Problem]:
    """Report what of a container could not be looked at; the other checks have their answer."""
    if facts.running is not None and facts.running.places.unseen:
        yield Problem(
            f"it could not be looked at: {'; '.join(facts.running.places.unseen)}",
            f"`{facts.inside} findmnt` shows what is mounted there",
        )


@check("not-asked", "faults there stay unknown")
def not_asked(facts: ContainerFacts) -> Iterator[Problem]:
    """Note what lies on another machine's files, or a program's: nothing is wrong, and nobody waits for them."""
    if facts.running is not None and facts.running.places.unasked:
        yield Problem(f"it was not looked at: {'; '.join(facts.running.places.unasked)}", fix="")
