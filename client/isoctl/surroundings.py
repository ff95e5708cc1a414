"""Where isoctl was started, as far as it explains why something did not go as wished."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SESSIONS = "/run/systemd/sessions"
# How toolkits, X clients and Wayland clients complain.
_COMPLAINTS = (b"display", b"wayland", b"compositor", b"x server", b"xcb")


def as_root_by_sudo(environment: "Mapping[str, str]") -> str:
    """Give the name of the user who became root by sudo or doas; "" for nobody."""
    if os.geteuid() != 0:
        return ""
    return environment.get("SUDO_USER") or environment.get("DOAS_USER") or ""


def missed_display(written: bytes) -> bool:
    """Tell whether a program that failed complained of a display."""
    return any(word in written.lower() for word in _COMPLAINTS)


def with_reason(refusal: str, environment: "Mapping[str, str]") -> str:
    """Say of a refusal of polkit's what is certain: by default it lets nobody ask who does not sit at this computer."""
    fact, has_guesses, _ = refusal.partition(": a rule, a wrong password")
    if not has_guesses or not _is_elsewhere(environment):
        return refusal
    return f"{fact}: your session is not one at this computer; ask from there, or as its root by `sudo isoctl`"


def _is_elsewhere(environment: "Mapping[str, str]") -> bool:
    """Tell whether the caller's session is remote or not in front, as sd_session_is_active(3) reads it."""
    if environment.get("SSH_CONNECTION"):
        return True
    try:
        with open(f"{_SESSIONS}/{os.path.basename(environment.get('XDG_SESSION_ID', ''))}") as session:
            values = dict(line.rstrip("\n").partition("=")[::2] for line in session if "=" in line)
    except (OSError, ValueError):
        return False
    return values.get("REMOTE") == "1" or values.get("ACTIVE") == "0"
