"""`isoctl menu`: the container's applications in the host's launcher, or the container's own launcher."""

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
