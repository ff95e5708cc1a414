"""What a contained app can't do to the screen, to other windows, to other users and to the host's files."""

import pytest

from lab.compositors import Sway
from lab.contained import Contained, interfaces, mounts, policy, show
from lab.machine import Lab
from lab.programs import ACTIVATE, FOOT, XTERM

# parts of names, so that a new version of one of them counts too
FORBIDDEN = (
    "screencopy", "image_copy_capture", "image_capture_source", "export_dmabuf", "virtual_keyboard", "virtual_pointer",
    "data_control", "layer_shell", "session_lock", "foreign_toplevel", "security_context", "input_method",
    "output_manager", "output_power", "gamma_control", "transient_seat",
)  # fmt: skip
NEEDED = {
    "wl_compositor",
    "wl_shm",
    "wl_seat",
    "wl_output",
    "xdg_wm_base",
    "wl_data_device_manager",
    "wl_subcompositor",
}
CONTAINERS = ["blog", "priv", "net", "plain", "evil"]
# connects to the abstract socket and to the path of the host's X server, and says how that went
TRY_X = """
import socket
for address in ("\\0/tmp/.X11-unix/X0", "/tmp/.X11-unix/X0"):
    with socket.socket(socket.AF_UNIX) as x:
        try:
            x.connect(address)
            x.sendall(b"l\\0\\x0b\\0" + bytes(8))
            print("answered" if x.recv(1) == b"\\x01" else "refused")
        except OSError:
            print("absent")
"""


def forbidden(offered: set[str]) -> set[str]:
    return {name for name in offered if any(part in name for part in FORBIDDEN)}


@pytest.mark.attack("C18")
@pytest.mark.parametrize("container", CONTAINERS)
def test_no_interface_that_reads_the_screen_or_injects_input(clean_desk: Sway, container: str) -> None:
    inside = interfaces(clean_desk, container)
    assert inside >= NEEDED
    assert forbidden(inside) == set()
    # sway has them: the test can fail
    assert len(forbidden(interfaces(clean_desk))) > 8


@pytest.mark.attack("C18")
@pytest.mark.parametrize("container", ["blog", "priv"])
def test_grim_and_wtype_fail_inside_and_work_outside(lab: Lab, clean_desk: Sway, container: str) -> None:
    app = show(clean_desk, container, FOOT, "victim")
    grim = clean_desk.run("isoctl", "run", container, "grim", "-", check=False)
    assert grim.returncode != 0
    assert "screencopy" in grim.stderr
    wtype = clean_desk.run("isoctl", "run", container, "wtype", "injected", check=False)
    assert wtype.returncode != 0
    assert "virtual keyboard" in wtype.stderr
    paste = clean_desk.run("isoctl", "run", container, "wlrctl", "toplevel", "list", check=False)
    assert paste.returncode != 0
    assert clean_desk.screenshot().share((0xAA, 0, 0)) > 0.5
    app.end()


@pytest.mark.attack("C18")
@pytest.mark.parametrize("container", ["blog", "evil", "plain"])
def test_no_socket_inside_leads_to_more(clean_desk: Sway, container: str) -> None:
    """An attacker tries every socket that he finds, as himself and as root, not only the one he was told of."""
    show(clean_desk, container, FOOT, "there").end()
    script = (
        "for socket in $(find / -xdev -type s 2>/dev/null; find /run /tmp /dev /var -type s 2>/dev/null); do "
        "timeout 5 env WAYLAND_DISPLAY=$socket XDG_RUNTIME_DIR=/run wayland-info 2>/dev/null; done; true"
    )
    offered = ""
    for user in ("alice", "root"):
        offered += clean_desk.lab.in_container(container, "sh", "-c", script, user=user).stdout
    names = {line.split("'")[1] for line in offered.splitlines() if "interface: '" in line}
    # root may get in by alice's socket; that is as restricted as alice is
    assert forbidden(names) == set()


@pytest.mark.attack("C17")
@pytest.mark.parametrize("container", ["net", "priv"])
def test_the_hosts_x_server_is_out_of_reach(clean_desk: Sway, container: str) -> None:
    """Any X client can read the keyboard and the screen of all others; its abstract socket needs no bind at all."""
    clean_desk.run("xdpyinfo")
    assert clean_desk.run("python3", "-c", TRY_X).stdout.split()[0] == "answered"
    for level in ("isolated", "none"):
        with policy(clean_desk.lab, container, "[grants]", f'x11 = "{level}"'):
            for user in ("alice", "root"):
                clean_desk.run("isoctl", "run", container, "true")
                tried = clean_desk.lab.in_container(container, "python3", "-c", TRY_X, user=user).stdout.split()
                assert tried == ["absent", "absent"]
            assert clean_desk.run("isoctl", "run", container, "xdpyinfo", "-display", ":0", check=False).returncode != 0


@pytest.mark.attack("C17")
def test_x11_none_gives_no_server_at_all(clean_desk: Sway) -> None:
    with policy(clean_desk.lab, "blog", "[grants]", 'x11 = "none"'):
        script = 'echo "display=$DISPLAY"; test -S /run/isoctl/1000/X'
        shown = clean_desk.run("isoctl", "run", "blog", "sh", "-c", script, check=False)
        assert (shown.stdout, shown.returncode) == ("display=\n", 1)


@pytest.mark.attack("C18")
def test_wayland_none_gives_no_compositor(clean_desk: Sway) -> None:
    with policy(clean_desk.lab, "blog", "[grants]", 'wayland = "none"', 'x11 = "none"'):
        command = ("sh", "-c", 'echo "$WAYLAND_DISPLAY$DISPLAY"')
        assert clean_desk.run("isoctl", "run", "blog", *command).stdout == "\n"
        required = clean_desk.run("isoctl", "run", "--display", "require", "blog", "true", check=False)
        assert required.returncode == 125
        assert "wayland" in required.stderr
        by_path = clean_desk.run("isoctl", "run", "-e", "WAYLAND_DISPLAY=/run/isoctl/1000/wayland-0", "blog",
                                 "wayland-info", check=False)  # fmt: skip
        assert by_path.returncode != 0


@pytest.mark.attack("C18")
def test_withdrawing_the_grant_closes_the_windows(clean_desk: Sway) -> None:
    """Closing the context alone would leave connected clients with the screen."""
    app = show(clean_desk, "blog", FOOT, "withdrawn")
    with policy(clean_desk.lab, "blog", "[grants]", 'wayland = "none"'):
        clean_desk.wait_no_window(title="withdrawn")
        assert app.process.wait(20) != 0


@pytest.mark.attack("C18")
def test_a_reload_names_the_displays_to_which_something_inside_may_stay_connected(clean_desk: Sway) -> None:
    """What D-Bus started inside is no app of isod's, and the compositor goes on serving it; a restart ends it."""
    caller = Contained(clean_desk, "blog", *ACTIVATE)
    caller.window(title="activated")
    caller.end()
    with policy(clean_desk.lab, "blog", "[grants]", 'wayland = "none"') as told:
        assert "grants.wayland: programs that D-Bus or systemd started inside stay connected" in told
        assert "`isoctl restart blog`" in told
        clean_desk.run("isoctl", "restart", "blog")
        clean_desk.wait_no_window(title="activated")
    # nothing is taken by giving it back
    assert "stay connected" not in clean_desk.lab.run("isoctl", "reload").stdout


@pytest.mark.attack("C17")
def test_withdrawing_x11_ends_the_clients_of_the_containers_own_server(clean_desk: Sway) -> None:
    """Also those that systemd or D-Bus started inside, which are no apps of isod's: the server is ours to end."""
    told = ("isoctl", "run", "blog", "systemctl", "--user", "show-environment")
    clean_desk.lab.wait_for(lambda: "\nDISPLAY=" in clean_desk.run(*told).stdout, 30, "not told of the display")
    command = ("systemd-run", "--user", "--quiet", *XTERM.command("by systemd"))
    clean_desk.run("isoctl", "run", "blog", "--", *command)
    clean_desk.wait_picture(lambda picture: picture.share(XTERM.colour) > 0.1, 40)
    with policy(clean_desk.lab, "blog", "[grants]", 'x11 = "none"') as changes:
        assert "stay connected" not in changes
        clean_desk.wait_picture(lambda picture: picture.share(XTERM.colour) == 0)


@pytest.mark.attack("C17")
def test_isolated_x_servers_are_apart(clean_desk: Sway) -> None:
    """The X server of one container shows nothing of another's clients, nor of the host's."""
    show_tree = ("xwininfo", "-root", "-tree")
    host = clean_desk.popen("xterm", "-T", "host secret", "-e", "sleep", "600")
    clean_desk.wait_window(title="host secret")
    inner = Contained(clean_desk, "net", "xterm", "-T", "net secret", "-bg", "#008800", "-e", "sleep", "600")
    inner.seen((0, 0x88, 0))
    assert "net secret" in clean_desk.run("isoctl", "run", "net", *show_tree).stdout
    seen_by_blog = clean_desk.run("isoctl", "run", "blog", *show_tree).stdout
    assert "Root window id" in seen_by_blog
    assert "secret" not in seen_by_blog
    inner.end()
    host.end()


@pytest.mark.attack("C18")
def test_two_users_of_one_container_keep_to_their_own_screens(lab: Lab, clean_desk: Sway) -> None:
    with lab.desktop("carol", tells="nothing") as carols:
        alices_app = show(clean_desk, "shared", FOOT, "of alice")
        carols_app = Contained(carols, "shared", "foot", "--override=colors.background=008800", "--title=of carol",
                               "sleep", "600")  # fmt: skip
        carols_app.window(title="of carol")
        carols_app.seen((0, 0x88, 0))
        assert [window.title for window in clean_desk.windows()] == ["of alice"]
        assert [window.title for window in carols.windows()] == ["of carol"]
        for desktop, other in ((clean_desk, 1003), (carols, 1000)):
            for path in (f"/run/isoctl/{other}/wayland-0", f"/run/isoctl/{other}/X"):
                script = 'test -S "$0" && echo there; WAYLAND_DISPLAY=$0 wayland-info; DISPLAY=$0 xdpyinfo'
                tried = desktop.run("isoctl", "run", "shared", "sh", "-c", script, path, check=False)
                assert tried.stdout == ""
        alices_app.end()
        carols_app.end()


def _files_of_attachments(lab: Lab, container: str) -> str:
    """Every file of the host that a container could reach through what it was given."""
    places = f"/run/isod/container/{container} /run/user/1000 /tmp/.X11-unix /dev/dri"
    return lab.run("sh", "-c", f"find {places} -printf '%p %i %y %U %m %s\\n' 2>/dev/null | sort").stdout


MOUNT_OVER = """
mkdir -p /tmp/evil && echo evil > /tmp/evil/file
mount -o remount,rw,bind /run/isoctl 2>/dev/null
for path in $(find /run/isoctl /dev/dri 2>/dev/null); do
    if [ -d "$path" ]; then mount --bind /tmp/evil "$path"; else mount --bind /tmp/evil/file "$path"; fi && echo over
done
"""


@pytest.mark.attack("C20")
@pytest.mark.breaks("mounts")
@pytest.mark.parametrize("container", ["evil", "plain", "priv"])
def test_what_root_inside_mounts_over_attachments_stays_inside(lab: Lab, clean_desk: Sway, container: str) -> None:
    """Of a shared mount, machined's bind made the container a peer: what its root mounted appeared on the host."""
    show(clean_desk, container, FOOT, "attached").end()
    assert mounts(lab, container)
    files, table = _files_of_attachments(lab, container), lab.run("cat", "/proc/1/mountinfo").stdout
    tried = lab.in_container(container, "sh", "-c", MOUNT_OVER, check=False)
    assert "over" in tried.stdout
    assert _files_of_attachments(lab, container) == files
    assert lab.run("cat", "/proc/1/mountinfo").stdout == table
    # and nobody but this container has lost anything
    show(clean_desk, "blog", FOOT, "others are well").end()
    lab.stop_container(container)
    show(clean_desk, container, FOOT, "well after a restart").end()


WRITE_THROUGH = """
mount -o remount,rw,bind /run/isoctl 2>/dev/null
for path in $(find /run/isoctl /dev/dri 2>/dev/null); do
    chmod 777 "$path"; chown 12345 "$path"; rm -rf "$path"; ln -s /etc "$path"
done 2>/dev/null
true
"""


@pytest.mark.attack("C20")
@pytest.mark.parametrize("container", ["evil", "plain"])
def test_root_inside_spoils_only_its_own_display(lab: Lab, clean_desk: Sway, container: str) -> None:
    """What lies there is hostile: nothing of the host is followed, changed or handed over."""
    show(clean_desk, container, FOOT, "attached").end()
    before = lab.run("sh", "-c", "stat -c '%n %i %a %u' /etc /etc/passwd /run/user/1000 /run/user/1000/*").stdout
    lab.in_container(container, "sh", "-c", WRITE_THROUGH)
    clean_desk.run("isoctl", "run", container, "true", check=False)
    after = lab.run("sh", "-c", "stat -c '%n %i %a %u' /etc /etc/passwd /run/user/1000 /run/user/1000/*").stdout
    assert after == before
    lab.stop_container(container)
    show(clean_desk, container, FOOT, "well after a restart").end()
