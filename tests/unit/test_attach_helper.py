"""Mounts into running containers, with real mount namespaces: private, read-only, and nothing but what was meant."""

import os

import pytest

from host_steps import SHIFTS, Run, run

__all__ = ["run"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")


@SHIFTS
def test_a_directory_is_shown_private_and_read_only(run: Run, shift: int) -> None:
    said = run(
        f"c = Container({shift})",
        "print(directory(c))",
        "for mount in mounts(c):",
        "    flags = mount[5].split(',')",
        "    print(mount[4], 'ro' in flags, 'nosuid' in flags, 'noexec' in flags, 'nodev' in flags, mount[6])",
        "print(c.do(\"os.mkdir('/run/isoctl/x')\"))",
        "os.mkdir('/run/isod/container/blog/run/1000')",
        "print(c.do(\"os.listdir('/run/isoctl')\"))",
        "print(os.listdir('/run/isod/container/blog/run'))",
    )
    # Without an optional field: neither shared with the host nor its slave.
    flags = "True True True False -"
    assert said[:2] == ["done", f"/run/isoctl {flags}"]
    assert said[2:] == ["Read-only file system", "['1000']", "['1000']"]


@SHIFTS
def test_a_missing_directory_inside_is_made_as_the_containers_root(run: Run, shift: int) -> None:
    said = run(
        f"c = Container({shift})",
        "os.rmdir(c.root + '/run/isoctl')",
        "print(directory(c), see(c.root + '/run/isoctl'))",
    )
    assert said == [f"done drwxr-xr-x {shift} {shift}"]


@SHIFTS
def test_a_compositors_socket_is_the_users_inside_and_private(run: Run, shift: int) -> None:
    said = run(
        f"c = Container({shift})",
        "directory(c)",
        "place(c)",
        "print(sock(c))",
        "(mount,) = mounts(c, 'wayland-0')",
        "print(mount[6], 'nosuid' in mount[5], 'nodev' in mount[5], 'noexec' in mount[5])",
        "print(c.do(\"see('/run/isoctl/1000/wayland-0')\"))",
        "for uid in 1000, 1001: print(c.do(f\"connect('/run/isoctl/1000/wayland-0', {uid})\"))",
        "print(see('/run/isod/container/blog/run/1000/wayland-0')[0], see('/run/user/1000/wayland-1'))",
    )
    assert said[0] == "done"
    assert said[1:3] == ["- True True True", "srwxr-xr-x 1000 1000"]
    assert said[3:5] == ["connected", "Permission denied"]
    assert said[5] == "- srwxr-xr-x 1000 1000"


@pytest.mark.attack("C17")
@pytest.mark.attack("C20")
def test_an_x_servers_socket_is_attached_and_no_other_of_roots(run: Run) -> None:
    """Root's own too, since Xorg is; but nothing that only says it is one: root inside could use it."""
    said = run(
        "c = Container(); directory(c); place(c); open('/run/isod/container/blog/run/1000/X', 'w').close()",
        "roots, x = listen('/run/docker.sock', 0), {'name': 'X', 'socket': 'X0'}",
        "for name in ('X0', '../../run/docker.sock', 'docker.sock'):",
        "    print(sock(c, '/run/docker.sock', **x | {'socket': name}))",
        "for owner in (1000, 0, 1001):",
        "    os.chown('/tmp/.X11-unix/X0', owner, owner)",
        "    print(sock(c, '/tmp/.X11-unix/X0', **x))",
    )
    expected = ("no longer there", "no such socket", "not the name", "done", "done", "not the user's own")
    assert all(part in line for part, line in zip(expected, said, strict=True)), said


@pytest.mark.attack("C20")
@SHIFTS
def test_what_root_inside_mounts_over_it_the_host_does_not_see(run: Run, shift: int) -> None:
    """Measured with machined's BindMountMachine on systemd 257: there the host's own socket was replaced."""
    said = run(
        f"c = Container({shift})",
        "directory(c)",
        "place(c)",
        "sock(c)",
        "c.do(\"open('/evil', 'w').close()\")",
        "c.do(\"os.mkdir('/evild')\")",
        "print(c.do(\"mount_over(b'/evil', b'/run/isoctl/1000/wayland-0')\"))",
        "print(c.do(\"see('/run/isoctl/1000/wayland-0')[0]\"))",
        "print(c.do(\"mount_over(b'/evild', b'/run/isoctl')\"), c.do(\"os.listdir('/run/isoctl')\"))",
        "print(see('/run/user/1000/wayland-1')[0], connect('/run/user/1000/wayland-1', 1000))",
        "run = '/run/isod/container/blog/run'",
        "print(see(run + '/1000/wayland-0')[0], sorted(os.listdir(run)))",
    )
    assert said == ["None", "-", "None []", "s connected", "- ['1000']"]


def test_a_socket_is_taken_away_again_and_once(run: Run) -> None:
    said = run(
        "c = Container()",
        "directory(c)",
        "place(c)",
        "sock(c)",
        "for _ in range(2): print(act('detach_socket', {'uid': 1000, 'name': 'wayland-0'}, [c.pidfd]).split(':')[0])",
        "print(c.do(\"see('/run/isoctl/1000/wayland-0')[0]\"), mounts(c, 'wayland-0'), len(mounts(c)))",
        "print(see('/run/user/1000/wayland-1')[0])",
    )
    assert said == ["done", "OSError", "- [] 1", "s"]


def test_a_locked_socket_goes_with_the_file_that_it_is_mounted_over(run: Run) -> None:
    """In a user namespace nobody unmounts it; isod removes its place, which lies in a file system of the host's."""
    said = run(
        "c = Container(100000)",
        "directory(c), place(c), sock(c)",
        "print(act('detach_socket', {'uid': 1000, 'name': 'wayland-0'}, [c.pidfd]).split(':')[0])",
        "print(c.do(\"see('/run/isoctl/1000/wayland-0')[0]\"))",
        "os.unlink('/run/isod/container/blog/run/1000/wayland-0')",
        "print(c.do(\"os.listdir('/run/isoctl/1000')\"), mounts(c, 'wayland-0'), len(mounts(c)))",
        "print(see('/run/user/1000/wayland-1')[0])",
        "open('/run/isod/container/blog/run/1000/wayland-0', 'w').close()",
        "print(sock(c), c.do(\"see('/run/isoctl/1000/wayland-0')[0]\"))",
    )
    assert said == ["OSError", "s", "[] [] 1", "s", "done s"]


# What root inside tries on a mount: to unmount it, to loosen it, to move it away.
UNDO = """
REMOUNT, MOVE = 32, 8192
TRIES = {
    'umount': "checked(libc.umount2(PLACE, 0))",
    'detach': "checked(libc.umount2(PLACE, 2))",
    'writable': "checked(libc.mount(None, PLACE, None, REMOUNT | BIND, None))",
    'move': "checked(libc.mount(PLACE, b'/old', None, MOVE, None))",
}
def undo(c, place, looks):
    before = c.do(looks)
    for name, order in TRIES.items():
        print(name, c.do(order.replace('PLACE', repr(place))), c.do(looks) == before)
"""


@pytest.mark.attack("C51")
@pytest.mark.parametrize("what", ["directory", "socket", "node"])
def test_root_in_a_user_namespace_neither_unmounts_nor_loosens_what_is_mounted(run: Run, what: str) -> None:
    """Issue 12.9: each of these was undone by one call of root's inside."""
    steps = {
        "directory": (
            "open('/run/isod/container/blog/run/mark', 'w').close()",
            "undo(c, b'/run/isoctl', \"os.listdir('/run/isoctl')\")",
            "print(c.do(\"os.mkdir('/run/isoctl/x')\"))",
        ),
        "socket": (
            "place(c), sock(c)",
            "undo(c, b'/run/isoctl/1000/wayland-0', \"see('/run/isoctl/1000/wayland-0')\")",
            "print(c.do(\"connect('/run/isoctl/1000/wayland-0', 1000)\"))",
        ),
        "node": (
            "os.mkdir(c.root + '/dev'), os.chown(c.root + '/dev', c.shift, c.shift)",
            "made = {'machine': 'blog', 'directory': 'node', 'name': 'full'}",
            "act('make_node', made, [os.open('/dev/full', os.O_PATH)])",
            "request = {'machine': 'blog', 'uid_shift': c.shift, 'name': 'full', 'place': 'dev/full'}",
            "act('attach_node', request, [c.pidfd])",
            "undo(c, b'/dev/full', \"str(os.stat('/dev/full').st_rdev)\")",
            "print(c.do(\"os.stat('/dev/full').st_rdev == os.makedev(1, 7)\"))",
        ),
    }
    said = run(UNDO, "c = Container(100000)", "directory(c)", *steps[what])
    outcomes = dict(line.split(" ", 1) for line in said[:4])
    assert outcomes["umount"] == outcomes["detach"] == outcomes["move"] == "Invalid argument True"
    assert outcomes["writable"] == "Operation not permitted True"
    assert said[4] == {"directory": "Read-only file system", "socket": "connected", "node": "True"}[what]


@pytest.mark.attack("C03")
def test_a_process_of_the_host_is_no_container(run: Run) -> None:
    said = run(
        "c = Container()",
        "host = os.pidfd_open(os.getpid())",
        "place(c)",
        "os.makedirs('/run/isoctl/1000'); open('/run/isoctl/1000/wayland-0', 'w')",
        "print(act('attach_directory', {'machine': 'blog', 'directory': 'run', 'uid_shift': 0}, [host]))",
        "print(sock(c, pidfd=host))",
        "print(act('detach_socket', {'uid': 1000, 'name': 'wayland-0'}, [host]))",
        # One in a mount namespace of its own, as a service with PrivateMounts.
        "service = subprocess.Popen(['unshare', '-m', 'sh', '-c', 'echo; exec sleep 60'], stdout=subprocess.PIPE)",
        "service.stdout.readline()",
        "print(sock(c, pidfd=os.pidfd_open(service.pid)))",
        "service.kill()",
        "print([line for line in open('/proc/self/mountinfo') if ' /run/isoctl' in line])",
    )
    assert said == ["ValueError: that process is not in a container"] * 4 + ["[]"]


@pytest.mark.attack("C20")
@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        ("other = listen('/run/user/1000/wayland-2', 1000); path = '/run/user/1000/wayland-2'", "no longer there"),
        ("os.unlink(path); renewed = listen(path, 1000); path = '/run/old'", "no longer there"),
        ("os.chown(path, 1001, 1001)", "not the user's own"),
        ("os.chown(path, 0, 0)", "not the user's own"),
        ("os.unlink(path); open(path, 'w'); os.chown(path, 1000, 1000)", "no longer there"),
        ("os.unlink(path); os.symlink('/run/secret', path)", ""),
        ("os.unlink(path); os.mkfifo(path); os.chown(path, 1000, 1000)", "no longer there"),
        ("os.rename('/run/user/1000', '/run/user/1'); os.symlink('1', '/run/user/1000')", ""),
    ],
)
def test_only_the_users_own_live_socket_is_attached(run: Run, spoil: str, text: str) -> None:
    said = run(
        "c = Container()",
        "directory(c)",
        "place(c)",
        "path = '/run/user/1000/wayland-1'",
        "os.link(path, '/run/old')",
        spoil,
        "print(sock(c, path=path))",
        "print(c.do(\"see('/run/isoctl/1000/wayland-0')[0]\"), mounts(c, 'wayland-0'))",
    )
    assert said[0].startswith(("ValueError", "OSError"))
    assert text in said[0]
    assert said[1] == "- []"


@pytest.mark.attack("C20")
@pytest.mark.parametrize(
    "more",
    [
        "name='X2'",
        "name='../1000/wayland-0'",
        "name=''",
        "name='/run/secret'",
        "socket='../1000/wayland-1'",
        "socket='..'",
        "socket='wayland-1\\0'",
        "socket=''",
        "socket=1",
        "uid=-1",
        "uid='1000'",
        "uid=True",
        "uid=1 << 40",
        "uid=1001",
        "uid_shift=None",
        "extra=1",
    ],
)
def test_a_request_that_names_anything_else_is_refused(run: Run, more: str) -> None:
    said = run(
        "c = Container()", "directory(c)", "place(c)", f"print(sock(c, **dict({more})))", "print(mounts(c, 'wayland'))"
    )
    assert said[0].startswith(("ValueError", "FileNotFoundError")), said
    assert said[1] == "[]"


@pytest.mark.attack("C20")
@pytest.mark.parametrize("machine", ["..", ".", "", "../container/blog", "nosuch", "blog/run", "a\\0b"])
def test_only_a_containers_own_directory_is_shown(run: Run, machine: str) -> None:
    said = run("c = Container()", f"print(directory(c, machine='{machine}'))", "print(mounts(c))")
    assert said[0].startswith(("ValueError", "FileNotFoundError")), said
    assert said[1] == "[]"


@pytest.mark.attack("C20")
@pytest.mark.parametrize(
    ("trap", "act"),
    [
        ("os.rmdir(c.root + '/run/isoctl'); os.symlink('/etc', c.root + '/run/isoctl')", "directory(c)"),
        ("os.rename(c.root + '/run', c.root + '/r'); os.symlink('/r', c.root + '/run')", "directory(c)"),
        ("os.rmdir(c.root + '/run/isoctl'); open(c.root + '/run/isoctl', 'w')", "directory(c)"),
        ("os.symlink('/etc', c.root + '/run/isoctl/1000')", "sock(c)"),
        ("os.mkdir(c.root + '/run/isoctl/1000')", "sock(c)"),
        ("os.makedirs(c.root + '/run/isoctl/1000/wayland-0')", "sock(c)"),
    ],
)
def test_what_a_containers_root_put_in_the_way_is_not_followed(run: Run, trap: str, act: str) -> None:
    said = run(
        "c = Container()",
        "os.mkdir(c.root + '/etc')",
        "open(c.root + '/etc/wayland-0', 'w')",
        "before = len(mounts(c, '/'))",
        trap,
        f"print({act}.split(':')[0])",
        "print(len(mounts(c, '/')) - before)",
    )
    assert said[0] in ("OSError", "NotADirectoryError", "FileNotFoundError", "FileExistsError")
    assert said[1] == "0"


@pytest.mark.attack("C20")
def test_a_link_in_the_place_of_a_socket_is_covered_and_not_followed(run: Run) -> None:
    said = run(
        "c = Container()",
        "os.mkdir(c.root + '/run/isoctl/1000')",
        "open(c.root + '/target', 'w')",
        "os.symlink('/target', c.root + '/run/isoctl/1000/wayland-0')",
        "sock(c)",
        "print(mounts(c, 'target'), c.do(\"see('/target')[0]\"))",
    )
    assert said == ["[] -"]


@pytest.mark.attack("C50")
@SHIFTS
def test_a_root_is_handed_out_as_a_path_and_never_opened(run: Run, shift: int) -> None:
    """A2, as a kind: opening a directory is a question to whatever file system root inside has put there."""
    said = run(
        "import fcntl",
        "see_mark = lambda fd: stat.S_ISDIR(os.stat('mark', dir_fd=fd).st_mode)",
        "def told(fd):",
        "    is_path = bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_PATH)",
        "    os.write(1, f'{is_path} {see_mark(fd)}\\n'.encode())",
        "VERBS['open_root'] = lambda request, fds: told(attach.open_root(request, fds))",
        "sys.stdout.reconfigure(line_buffering=True)",
        f"c = Container({shift})",
        "os.mkdir(c.root + '/mark')",
        "print(act('open_root', {}, [c.pidfd]))",
        "print(act('open_root', {}, [os.pidfd_open(os.getpid())]))",
    )
    assert said == ["True True", "done", "ValueError: that process is not in a container"]
