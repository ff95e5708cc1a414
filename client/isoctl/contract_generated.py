"""What isoctl needs of the contract, without its imports; made by tools/generate_client.py, not by hand."""

VERSION = "0.1.0"
BUS_NAME = "org.isoctl1"
ROOT_PATH = "/org/isoctl1"
MANAGER = "org.isoctl1.Manager"
CONTAINER = "org.isoctl1.Container"
APP = "org.isoctl1.App"
SESSION = "org.isoctl1.Session"
SESSION_PATH = "/org/isoctl1/session"
PROPERTIES = "org.freedesktop.DBus.Properties"
CONTAINER_PATH_PREFIX = "/org/isoctl1/container/"
APP_PATH_PREFIX = "/org/isoctl1/app/"
ERROR_PREFIX = "org.isoctl1.Error."
EXIT_CODES = {
    "org.isoctl1.Error.InvalidArgument": 2,
}
ENDED = (
    "exited",
    "failed",
)
POLKIT_TIMEOUT_SEC = 120.0
CLIPBOARD_BYTES_MAX = 204800
CLIPBOARD_TIMEOUT_SEC = 3.0
HINT_NAMES = (
    "COLORTERM",
    "DESKTOP_STARTUP_ID",
    "DISPLAY",
    "DRI_PRIME",
    "GDK_SCALE",
    "LANG",
    "LANGUAGE",
    "LC_ADDRESS",
    "LC_ALL",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_IDENTIFICATION",
    "LC_MEASUREMENT",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NAME",
    "LC_NUMERIC",
    "LC_PAPER",
    "LC_TELEPHONE",
    "LC_TIME",
    "NO_COLOR",
    "QT_SCALE_FACTOR",
    "TERM",
    "TZ",
    "WAYLAND_DISPLAY",
    "XCURSOR_SIZE",
    "XCURSOR_THEME",
    "XDG_ACTIVATION_TOKEN",
    "XDG_CURRENT_DESKTOP",
    "XDG_SESSION_ID",
)
CHOICES = {
    "display": (
        "auto",
        "require",
        "none",
    ),
}
FLAGS: dict[str, tuple[tuple[str, str, tuple[str, ...], str, str], ...]] = {
    "run": (
        (
            "environment",
            "as",
            (
                "-e",
                "--env",
            ),
            "NAME[=VALUE]",
            "set a variable in the app; NAME alone takes the caller's value: use that for secrets, since every user of the host can read NAME=VALUE among the arguments of isoctl",
        ),
        (
            "directory",
            "s",
            (
                "-w",
                "--directory",
            ),
            "DIR",
            "working directory inside the container, or one of the host that is shared with it, `.` too; default: the home inside",
        ),
        (
            "login-shell",
            "b",
            (
                "--[no-]login-shell",
            ),
            "",
            "start through the account's login shell, so that its profile applies; default: as policy says",
        ),
        (
            "user",
            "s",
            (
                "-u",
                "--user",
            ),
            "USER",
            "account inside the container; needs a grant",
        ),
        (
            "display",
            "s",
            (
                "--display",
            ),
            "MODE",
            "auto: attach a display if there is one (default); require: fail without one; none: attach none",
        ),
    ),
    "container": (
        (
            "force",
            "b",
            (
                "--force",
            ),
            "",
            "even if another user's app runs in it; asks polkit",
        ),
    ),
    "log": (
        (
            "follow",
            "b",
            (
                "-f",
                "--follow",
            ),
            "",
            "go on as lines are written",
        ),
        (
            "lines",
            "u",
            (
                "-n",
                "--lines",
            ),
            "N",
            "only the last N lines",
        ),
        (
            "since-usec",
            "t",
            (
                "--since",
            ),
            "TIME",
            "only lines from then on, microseconds since 1970",
        ),
    ),
    "history": (
        (
            "since-usec",
            "t",
            (
                "--since",
            ),
            "TIME",
            "only records from then on",
        ),
        (
            "limit",
            "u",
            (
                "-n",
                "--lines",
            ),
            "N",
            "at most N records, the newest",
        ),
    ),
    "explain": (
        (
            "user",
            "s",
            (
                "-u",
                "--user",
            ),
            "USER",
            "for this account inside; default: that of Run",
        ),
    ),
    "reload": (
        (
            "dry-run",
            "b",
            (
                "--dry-run",
            ),
            "",
            "only say what would change",
        ),
    ),
}
