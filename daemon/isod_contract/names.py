"""Names of the D-Bus contract: bus name, interfaces, object paths, unit names and what may stand in them."""

import re

BUS_NAME = "org.isoctl1"
ROOT_PATH = "/org/isoctl1"
MANAGER = "org.isoctl1.Manager"
CONTAINER = "org.isoctl1.Container"
APP = "org.isoctl1.App"
# Of isod-session alone, on the session bus.
SESSION = "org.isoctl1.Session"
SESSION_PATH = ROOT_PATH + "/session"
PROPERTIES = "org.freedesktop.DBus.Properties"
INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
PEER = "org.freedesktop.DBus.Peer"

CONTAINER_PATH_PREFIX = ROOT_PATH + "/container/"
APP_PATH_PREFIX = ROOT_PATH + "/app/"

STATE_DIRECTORY = "/run/isod/state"
CONTAINER_DIRECTORY = "/run/isod/container"
HELPER_SOCKET = "/run/isod/helper"
TERMINAL_HELPER_SOCKET = "/run/isod/helper-terminal"
MOUNT_HELPER_SOCKET = "/run/isod/helper-mount"
NODE_HELPER_SOCKET = "/run/isod/helper-node"
DEVICES_HELPER_SOCKET = "/run/isod/helper-devices"

# Where a container sees what isod gives its users: a directory for each user of the host, named by their uid.
GUEST_DIRECTORY = "run/isoctl"
# Directories of a container's tmpfs, and where it sees them. What stands in the last one is mounted one by one.
SHOWN_DIRECTORIES = {"run": GUEST_DIRECTORY, "dri": "dev/dri"}
NODE_DIRECTORY = "node"
SHOWN_RUN = "run"
# Beside the directories of users: files for the container's root alone.
LAUNCH_DIRECTORY = "launch"
# What stands in a user's directory.
WAYLAND_SOCKET = "wayland-0"
X11_SOCKET = "X"
X_SERVERS = ("xwayland-satellite", "Xwayland")  # the programs that serve X11 to a container, the best first
X11_AUTHORITY = "Xauthority"

# Where X servers of the host listen, below its root, and the names of their sockets there.
X11_DIRECTORY = "tmp/.X11-unix"
_X11_NAME = re.compile(r"X[0-9]{1,5}")

# Linux host names are at most 64 bytes (HOST_NAME_MAX) and machined takes nothing longer.
_CONTAINER_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62}[A-Za-z0-9])?")
_APP_ID = re.compile(r"[0-9a-f]{32}")
_UNIT_USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
# What useradd, SSSD, winbind and systemd-homed make: systemd's relaxed rule (USER_NAMES), by which the systemd inside
# takes a name too, less blanks and what has a meaning to shells.
_ACCOUNT_NAME = re.compile(r"(?!-)(?!\d+\Z)(?!\.{1,2}\Z)[^\s:/\"'`$*?]{1,255}")


def is_container_name(untrusted_name: str) -> bool:
    """Tell whether a text may be a container's name: letters, digits, `-` and `.`, case kept.

    `..` is refused because systemd and machined refuse it as a host name.
    """
    return _CONTAINER_NAME.fullmatch(untrusted_name) is not None and ".." not in untrusted_name


def is_app_id(untrusted_id: str) -> bool:
    """Tell whether a text may be an app's id: 128 bits in lower-case hexadecimal."""
    return _APP_ID.fullmatch(untrusted_id) is not None


def is_x11_name(untrusted_name: str) -> bool:
    """Tell whether a text may be the name of an X server's socket in its directory."""
    return _X11_NAME.fullmatch(untrusted_name) is not None


def is_account_name(untrusted_name: str) -> bool:
    """Tell whether a text may be the name of a user or group, of the host or inside.

    One rule for policy, the bus and what is read in a container: what one takes the others must not call missing.
    """
    return _ACCOUNT_NAME.fullmatch(untrusted_name) is not None and untrusted_name.isprintable()


# What a shell keeps for itself, so that the one which starts a command would end at them, or obey them: bash(1), sh(1).
SHELLS_OWN_VARIABLES = frozenset(["BASHOPTS", "BASH_VERSINFO", "EUID", "OPTIND", "PPID", "SHELLOPTS", "UID"])
# Of the names under which variables travel past a login profile; nobody else's begin so.
CARRIER_PREFIX = "_ISOCTL_"


def is_unit_user_name(untrusted_name: str) -> bool:
    """Tell whether an account's name may stand in a unit's name as it is (systemd's strict rule, USER_NAMES)."""
    return _UNIT_USER_NAME.fullmatch(untrusted_name) is not None


def escape_label(text: str) -> str:
    """Write any text as one element of an object path, as systemd does (sd_bus_path_encode)."""
    if not text:
        return "_"
    return "".join(
        char
        if char.isascii() and char.isalnum() and not (position == 0 and char.isdigit())
        else "".join(f"_{byte:02x}" for byte in char.encode())
        for position, char in enumerate(text)
    )


def unescape_label(untrusted_label: str) -> str | None:
    """Read what `escape_label` wrote; None for a text that it never writes."""
    if untrusted_label == "_":
        return ""
    parts = re.split(r"_([0-9a-f]{2})", untrusted_label)
    try:
        raw = b"".join(
            bytes.fromhex(part) if position % 2 else part.encode("ascii") for position, part in enumerate(parts)
        )
        text = raw.decode()
    except ValueError:
        return None
    return text if escape_label(text) == untrusted_label else None


def container_path(name: str) -> str:
    """Give the object path of a container."""
    return CONTAINER_PATH_PREFIX + escape_label(name)


def app_path(app_id: str) -> str:
    """Give the object path of an app; ids are hexadecimal and stand as they are."""
    return APP_PATH_PREFIX + app_id


def x_server_unit(container: str, uid: int | None = None) -> str:
    """Give the unit of a container's X server in its user's systemd, or with `uid` in the host's.

    Container names hold nothing that systemd would need escaped.
    """
    return f"isoctl-x11-{container}.service" if uid is None else f"isoctl-x11-{uid}-{container}.service"


def app_unit(app_id: str) -> str:
    """Give the name of the transient unit that an app is inside its container."""
    return f"isoctl-app-{app_id}.service"


def left_over_unit(app_id: str, number: int) -> str:
    """Give the name of a scope inside for what an app's main process left running."""
    return f"isoctl-left-{app_id}-{number}.scope"


def keeper_unit(uid: int) -> str:
    """Give the name of the unit inside a container that keeps a user's login session alive."""
    return f"isoctl-session-{uid}.service"


def environment_unit(uid: int, nonce: str) -> str:
    """Give the name of a unit inside a container that tells a user's session of its display."""
    return f"isoctl-environment-{uid}-{nonce}.service"
