"""`isoctl menu`: the container's applications in the host's launcher, or the container's own launcher."""

from collections.abc import Callable, Iterator

import pytest

from lab.compositors import Sway
from lab.contained import Contained, policy
from lab.machine import Lab
from lab.programs import FOOT


def test_the_hosts_launcher_offers_the_containers_applications(lab: Lab, clean_desk: Sway) -> None:
    lab.stop_container("blog")
    before = clean_desk.screenshot()
    menu = clean_desk.popen("isoctl", "menu", "blog")
    # fuzzel is a layer surface, so no window of the tree
    clean_desk.wait_picture(lambda picture: picture.share_differing(before) > 0.02, 40)
    assert clean_desk.windows() == []
    clean_desk.type("Foot\n")
    window = clean_desk.wait_window(app_id="foot", timeout_sec=40)
    assert lab.container_of(window.pid) == "blog"
    clean_desk.close_window(window)
    menu.end()


def test_the_containers_own_launcher_by_policy(lab: Lab, clean_desk: Sway) -> None:
    command = ", ".join(f'"{word}"' for word in ("foot", "--title=own launcher", "sleep", "600"))
    with policy(lab, "blog", f"menu = [{command}]"):
        menu = Contained(clean_desk, "blog", *FOOT.command("beside"))
        menu.window(title="beside")
        launcher = clean_desk.popen("isoctl", "menu", "blog")
        window = clean_desk.wait_window(title="own launcher", timeout_sec=40)
        assert lab.container_of(window.pid) == "blog"
        clean_desk.close_window(window)
        launcher.end()
        menu.end()


def test_leaving_the_menu_starts_nothing(clean_desk: Sway) -> None:
    before = clean_desk.screenshot()
    menu = clean_desk.popen("isoctl", "menu", "blog")
    clean_desk.wait_picture(lambda picture: picture.share_differing(before) > 0.02, 40)
    clean_desk.key("Escape")
    menu.wait(20)
    assert clean_desk.windows() == []


OWN = "/home/alice/.local/share/applications/wine"
SAYS_WHERE = "/home/alice/say-where"


@pytest.fixture
def entries(lab: Lab) -> Iterator[Callable[..., None]]:
    """Write entries of the user's own inside, in a subdirectory with a name as people have them."""

    def inside(*command: str, stdin: str = "") -> None:
        lab.in_container("blog", *command, user="alice", stdin=stdin.encode())

    def write(file: str, name: str, command: str, *more: str) -> None:
        lines = ("[Desktop Entry]", "Type=Application", f"Name={name}", f"Exec={command}", *more, "")
        inside("tee", f"{OWN}/My Programs/{file}", stdin="\n".join(lines))

    lab.run("isoctl", "start", "blog", user="alice")
    inside("mkdir", "-p", f"{OWN}/My Programs")
    # As a shell's prompt names a window.
    title = r"""printf '\033]2;%s: %s\007' "$(hostname)" "$PWD" """
    inside("tee", SAYS_WHERE, stdin=f"#!/bin/sh\n{title}\nexec sleep 600\n")
    inside("chmod", "+x", SAYS_WHERE)
    yield write
    inside("rm", "-r", SAYS_WHERE, OWN)


def _choose(desk: Sway, typed: str) -> None:
    """Choose in the launcher, once it is on the screen."""
    before = desk.screenshot()
    menu = desk.popen("isoctl", "menu", "blog")
    desk.wait_picture(lambda picture: picture.share_differing(before) > 0.02, 40)
    desk.type(f"{typed}\n")
    menu.wait(40)


def test_names_as_people_have_them_and_the_directory_of_the_entry(
    lab: Lab, clean_desk: Sway, entries: Callable[..., None]
) -> None:
    """D-12, D-14: a space, an apostrophe, a subdirectory; Path=, OnlyShowIn."""
    entries("Baldur's Gate 3.desktop", "Baldur", "foot /home/alice/say-where", "Path=/usr/share")
    entries("kde only.desktop", "Baldur KDE", "foot --title=wrong", "OnlyShowIn=KDE;")
    _choose(clean_desk, "Baldur")
    window = clean_desk.wait_window(title="blog: /usr/share", timeout_sec=40)
    assert lab.container_of(window.pid) == "blog"
    clean_desk.close_window(window)


def test_what_needs_a_terminal_runs_in_the_hosts(lab: Lab, clean_desk: Sway, entries: Callable[..., None]) -> None:
    """D-12: Terminal=true; the terminal is the host's, what runs in it is the container's."""
    entries("htop.desktop", "Top of it", "/home/alice/say-where", "Terminal=true", "Path=/usr")
    _choose(clean_desk, "Top of it")
    window = clean_desk.wait_window(title="blog: /usr", timeout_sec=40)
    assert lab.container_of(window.pid) is None
    clean_desk.close_window(window)
