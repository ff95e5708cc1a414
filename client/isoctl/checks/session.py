"""What the caller's own session needs."""

from collections.abc import Iterator

from isoctl.host import Host
from isod_contract.findings import Problem, check
from isod_contract.names import X_SERVERS


@check("agent-missing", "nobody can type the password that policy asks for")
def agent_missing(host: Host) -> Iterator[Problem]:
    """Report a session without a polkit agent, if any container asks."""
    if host.uid == 0:
        return
    asking = [item["name"] for item in host.containers if host.asks_for_password(item["name"])]
    # Without a session there is none for whom an agent could ask.
    if asking and host.session and not host.has_agent:
        yield Problem(
            f"no polkit agent that is known runs for you, and {', '.join(asking)} asks for a password",
            "start one with the desktop: polkit-gnome, lxpolkit, polkit-kde-agent, hyprpolkitagent (of sway: `exec "
            "lxpolkit`); NixOS: security.soteria.enable = true;",
        )


@check("x-server-missing", "X11 programs find no display")
def x_server_missing(host: Host) -> Iterator[Problem]:
    """Report a Wayland desktop without a program that serves X11, if policy grants any."""
    if not host.environment.get("WAYLAND_DISPLAY") or any(map(host.has_program, X_SERVERS)):
        return
    granted = [item["name"] for item in host.containers if item["grants"].get("x11") == "isolated"]
    if granted:
        yield Problem(
            "neither xwayland-satellite nor Xwayland is installed",
            "`apt-get install xwayland`; NixOS: environment.systemPackages = [ pkgs.xwayland-satellite ];",
        )
