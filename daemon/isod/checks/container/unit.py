"""How the container's unit runs it: devices it may open, and binds that give away what it is there to keep apart."""

from collections.abc import Iterator

from isod.checks.facts import ContainerFacts
from isod_contract.findings import Problem, check

_STRICT = ("closed", "strict")
# Whole classes, and single devices that are as good as the host: nothing that nspawn needs, nothing that isod writes.
_WIDE = ("char-*", "block-*", "char-mem", "char-drm", "char-input", "char-hidraw", "block-sd", "block-nvme", "block-vd")
_WIDE_PREFIXES = ("/dev/mem", "/dev/kmem", "/dev/port", "/dev/dri", "/dev/input", "/dev/sd", "/dev/nvme", "/dev/vd")

# Directories of the host, and what to have instead; the Nix module refuses the same (nix/rules.nix).
_GIVEN_AWAY = {
    "/run/user": ("its logind empties it when the last session inside ends, and the host loses its sockets",
                  "isod attaches the display by itself, see `[grants]`"),
    "/tmp/.X11-unix": ("every X client sees every other, and their keys", '`grants.x11 = "isolated"` gives X11'),  # noqa: S108 - named, not used
    "/run/dbus": ("the host's system bus is reachable", "nothing in it needs that"),
    "/run/systemd": ("it is the host systemd's own", "nothing in it needs that"),
    "/proc": ("it is the host's", "nothing in it needs that"),
    "/sys": ("it is the host's", "nothing in it needs that"),
    "/dev/dri": ("its nodes that set the display mode come along", '`grants.gpu = "render"` gives the render nodes'),
    "/dev": ("all devices of the host come along", "grant what it needs"),
}  # fmt: skip
_OWN = "/run/isod/container/"


@check("device-policy", "root in it can open every device of the host, whatever policy grants")
def device_policy(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a unit that puts no bound on devices: nspawn sets none with --keep-unit."""
    settings = facts.settings
    if settings.load_state == "loaded" and "--keep-unit" in settings.command and settings.device_policy not in _STRICT:
        yield Problem(
            f"{facts.unit} has DevicePolicy={settings.device_policy}",
            f"`systemctl set-property {facts.unit} DevicePolicy=closed`",
        )


@check("device-allow", "root in it can open them, whatever policy grants")
def device_allow(facts: ContainerFacts) -> Iterator[Problem]:
    """Report DeviceAllow= of whole classes, disks, screens and input."""
    wide = [
        f"{device} {access}"
        for device, access in facts.settings.device_allow
        if device in _WIDE or device.startswith(_WIDE_PREFIXES)
    ]
    if wide:
        yield Problem(
            f"{facts.unit} has {', '.join(f'DeviceAllow={entry}' for entry in wide)}",
            f"remove it from the file that `systemctl cat {facts.unit}` names, then `systemctl daemon-reload`; NixOS: "
            "allowedDevices of the container",
        )


@check("device-tun", "it does not boot: systemd-nspawn can't make the node")
def device_tun(facts: ContainerFacts) -> Iterator[Problem]:
    """Report user namespacing under a closed device policy without /dev/net/tun (nspawn of systemd 257)."""
    settings = facts.settings
    # One that runs shows it, wherever that was set: a .nspawn file (systemd.nspawn(5)) is not on the command line.
    own_users = (facts.running is not None and facts.running.uid_shift > 0) or any(
        word == "-U" or (word.startswith("--private-users=") and not word.endswith(("=no", "=identity")))
        for word in settings.command
    )
    allowed = {device for device, _ in settings.device_allow}
    if own_users and settings.device_policy in _STRICT and not allowed & {"/dev/net/tun", "char-*"}:
        yield Problem(
            f"{facts.unit} has user namespaces and no DeviceAllow=/dev/net/tun",
            f"`systemctl set-property {facts.unit} 'DeviceAllow=/dev/net/tun rwm'`",
        )


@check("bind-unsafe", "the container is no boundary for what lies there")
def bind_unsafe(facts: ContainerFacts) -> Iterator[Problem]:
    """Report binds of what must stay the host's, those of the hand-written recipe above all."""
    for word in facts.settings.command:
        flag, equals, value = word.partition("=")
        if flag not in ("--bind", "--bind-ro") or not equals:
            continue
        source = value.partition(":")[0].lstrip("+-").rstrip("/") or "/"
        if source.startswith(_OWN):
            continue
        for directory, (why, instead) in _GIVEN_AWAY.items():
            if source in ("/", directory) or source.startswith(directory + "/"):
                reason = "all of the host's files are there" if source == "/" else why
                yield Problem(
                    f"{facts.unit} binds {source}: {reason}",
                    f"remove `{word}` from it (`systemctl cat {facts.unit}`; NixOS: bindMounts), `isoctl restart "
                    f"{facts.name}`; {instead}",
                )
                break


@check("interface-name", "firewall rules that name the interface do not match")
def interface_name(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a name that does not fit into the 15 characters of an interface's."""
    if {"-n", "--network-veth"} & set(facts.settings.command) and len(facts.machine) > 12:
        yield Problem(
            f"its interface on the host is not called ve-{facts.machine}, which is longer than 15 characters, but a "
            "shortened form",
            "give it a name of at most 12 characters, or have rules match `ve-+`",
        )
