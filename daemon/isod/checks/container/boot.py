"""What a container needs so that it starts, can be reached, and gives its users a session."""

from collections.abc import Iterator

from isod.checks.facts import ContainerFacts
from isod_contract.errors import Unsupported
from isod_contract.findings import Problem, check


@check("unit-missing", "nothing can be started")
def unit_missing(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a container whose unit systemd can't load."""
    state = facts.settings.load_state
    if state != "loaded":
        yield Problem(
            f"its unit {facts.unit} is {state}",
            f'`systemctl status {facts.unit}` says why; or name another with `unit = "..."` in '
            f"/etc/isod/containers/{facts.name}.toml",
        )


@check("unit-stale", "systemd starts it as the file was when it was read last")
def unit_stale(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a unit whose file changed since systemd read it."""
    if facts.settings.needs_reload:
        yield Problem(f"the file of {facts.unit} changed after systemd read it", "`systemctl daemon-reload`")


@check("dbus-missing", "apps are started over the container's own system bus")
def dbus_missing(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a container that has booted without a bus."""
    if facts.running is None and isinstance(facts.problem, Unsupported):
        yield Problem(
            "it has booted without a system bus",
            f"`systemctl --root={facts.root} unmask dbus.socket dbus.service && isoctl restart {facts.name}`, if dbus "
            "is installed in it and masked; else install dbus or dbus-broker there",
        )


@check("container-silent", "nothing starts in it, and what runs there can neither be seen nor ended")
def container_silent(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a container that runs and does not answer, or answers what it must not."""
    if facts.silence:
        yield Problem(
            f"it runs and can't be looked into: {facts.silence}",
            f"`isoctl restart --force {facts.name}` ends it and all that runs in it; a stop may take 90 s",
        )


@check("root-unusable", "nothing can be started")
def root_unusable(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a container whose files are not where its unit boots them from, or are not a system."""
    if facts.lack:
        yield Problem(
            facts.lack,
            'install a system there (README, "Without NixOS"), or name another unit with `unit = "..."` in '
            f"/etc/isod/containers/{facts.name}.toml",
        )


@check("start-failed", "no app can be started in it")
def start_failed(facts: ContainerFacts) -> Iterator[Problem]:
    """Report why it is not there, where no other check says it."""
    if (
        facts.running is not None
        or facts.silence
        or facts.lack
        or facts.problem is None
        or isinstance(facts.problem, Unsupported)
    ):
        return
    if facts.settings.load_state == "loaded":
        yield Problem(
            facts.problem.text_for(is_root=facts.caller.is_root),
            f"`journalctl -b -u {facts.unit}` as root shows why; then `isoctl start {facts.name}`",
        )


@check("logind-missing", "apps get no session bus, and no user services run")
def logind_missing(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a container without logind."""
    if facts.running is not None and not facts.running.has_logind:
        yield Problem(
            "systemd-logind is not there or masked inside",
            f"`systemctl -M {facts.machine} unmask systemd-logind.service dbus-org.freedesktop.login1.service`, or "
            "install libpam-systemd (systemd-pam) in it",
        )


@check("pam-systemd-missing", "no login gets a session, so no app starts")
def pam_systemd_missing(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a container where PAM can't tell logind of logins."""
    running = facts.running
    if running is not None and running.has_logind and "pam-systemd" not in running.inside.present:
        yield Problem("it has no pam_systemd.so", f"`{facts.inside} apt-get install -y libpam-systemd`, or systemd-pam")


@check("session-bus-missing", "programs that need a session bus fail or start one of their own")
def session_bus_missing(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a container whose user managers start no bus."""
    running = facts.running
    if running is not None and running.has_logind and "session-bus" not in running.inside.present:
        yield Problem(
            "its user managers have no dbus.socket", "install dbus-user-session (Debian) or dbus-broker in it"
        )
