"""`x11 = "host"`: the user's own X server in a container, by explicit policy only, and what is said of it."""

import base64
from collections.abc import Iterator
from functools import partial

import pytest

from lab.compositors import Sway
from lab.contained import Contained, mounts, policy, show
from lab.machine import Lab
from lab.programs import FOOT, XTERM

HOST_X = ("[grants]", 'x11 = "host"')
COOKIE = bytes(range(16))
# one entry for display :5 of any host (Xauth(3))
AUTHORITY = b"\xff\xff\0\0" + b"\0\x015" + b"\0\x12MIT-MAGIC-COOKIE-1" + b"\0\x10" + COOKIE


def _on_host(desk: Sway, container: str, title: str) -> Contained:
    """An X program in a container whose window is one of the compositor's own: the server is rootless."""
    app = Contained(desk, container, *XTERM.command(title))
    try:
        window = desk.wait_window(40, title=title)
    except TimeoutError as error:
        raise AssertionError(f"{error}\n{app.output}") from error
    assert window.x11
    return app


def _answers(desk: Sway, container: str) -> bool:
    return desk.run("timeout", "5", "isoctl", "run", container, "xwininfo", "-root", check=False).returncode == 0


@pytest.mark.attack("C17")
@pytest.mark.parametrize("container", ["net", "plain"])
def test_an_x_program_uses_the_hosts_server_where_policy_says_so(lab: Lab, clean_desk: Sway, container: str) -> None:
    """Also after the compositor, and its X server with it, was killed; ended when the grant is withdrawn."""
    with policy(lab, container, *HOST_X):
        _on_host(clean_desk, container, "on the host").end()
        status = clean_desk.run("isoctl", "status", container).stdout
        assert "x11 of uid 1000: the user's own X server; also reachable: all keys and windows" in status
        assert "reads the screen and all keys" in clean_desk.run("isoctl", "exposure", container).stdout
        for number in range(2):
            clean_desk.restart()
            # A launch before isod knows of the new server may be shown the socket of the old one.
            lab.wait_for(partial(_answers, clean_desk, container), what="the new server does not answer inside")
            app = _on_host(clean_desk, container, f"after {number}")
            places = [place for place, _ in mounts(lab, container) if place == "/run/isoctl/1000/X"]
            assert len(places) == 1
            if number == 0:
                app.end()
        other = show(clean_desk, container, FOOT, "by wayland")
    clean_desk.wait_no_window(title="after 1")
    # It ends; by which of HUP and TERM, which come together, and so with which code, is xterm's affair.
    app.process.wait(20)
    other.process.wait(20)
    # back to the server of its own
    assert "xterm" not in clean_desk.run("isoctl", "run", container, "xwininfo", "-root", "-tree").stdout
    assert not [place for place, _ in mounts(lab, container) if place == "/run/isoctl/1000/X"]


def test_a_server_that_goes_by_uid_is_refused_to_a_user_namespace_in_a_sentence(lab: Lab, clean_desk: Sway) -> None:
    """Xwayland of sway has no cookie; the Wayland display is there all the same."""
    with policy(lab, "priv", *HOST_X):
        app = Contained(clean_desk, "priv", *FOOT.command("without x"))
        app.window(title="without x")
        app.end()
        told = [note["summary"] + note["body"] for note in clean_desk.notifications()]
        assert [text for text in told if "takes clients of uid 1000 alone" in text]
        shown = clean_desk.run("isoctl", "run", "priv", "sh", "-c", 'echo "x=$DISPLAY"')
        assert shown.stdout == "x=\n"


@pytest.fixture
def cookie_server(lab: Lab, clean_desk: Sway) -> Iterator[None]:
    """A rootful X server of alice's that wants a cookie, and that her user manager knows."""
    path = f"{clean_desk.dir}/authority"
    lab.run("sh", "-c", f"base64 -d > {path} && chown alice: {path} && chmod 600 {path}",
            stdin=base64.b64encode(AUTHORITY))  # fmt: skip
    server = clean_desk.popen("Xwayland", ":5", "-auth", path, "-nolisten", "tcp", "-noreset")
    environment = ("DISPLAY=:5", f"XAUTHORITY={path}")
    lab.run("systemctl", "--user", "set-environment", *environment, user="alice")
    lab.wait_for(lambda: lab.host_path("/tmp/.X11-unix/X5").is_socket(), what="no X server")
    yield
    lab.run("systemctl", "--user", "unset-environment", "DISPLAY", "XAUTHORITY", user="alice")
    server.end()


@pytest.mark.usefixtures("cookie_server")
@pytest.mark.parametrize("container", ["priv", "net"])
def test_a_cookie_opens_the_hosts_server_in_every_container(lab: Lab, clean_desk: Sway, container: str) -> None:
    with policy(lab, container, *HOST_X):
        clean_desk.run("systemctl", "--user", "restart", "isod-session")
        look = ("isoctl", "run", container, "xwininfo", "-root", "-tree")
        assert "Root window id" in clean_desk.run(*look).stdout
        without = ("isoctl", "run", "-e", "XAUTHORITY=/dev/null", container, "xwininfo", "-root")
        assert clean_desk.run(*without, check=False).returncode != 0
        # for its user alone, and gone with the grant
        mode = lab.in_container(container, "stat", "-c", "%a %U", "/run/isoctl/1000/Xauthority").stdout
        assert mode == "400 alice\n"
    lab.wait_for(lambda: not lab.host_path(f"/run/isod/container/{container}/run/1000/Xauthority").exists())
