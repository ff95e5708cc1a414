"""Device nodes of the host in containers: who can open them, how they come and go, and what is left afterwards."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lab.devices import FUSE, Card, Graphics, allowed, can_open, graphics
from lab.machine import Lab
from lab.policies import added_policy

NODE = "/dev/dri/renderD128"
ABSENT, FORBIDDEN = "No such file or directory", "Operation not permitted"
RENDER = ("[grants]", 'gpu = "render"')
KINDS = ["blog", "priv", "privchown", "net", "plain", "deb"]


@pytest.fixture(scope="module")
def gpus(lab: Lab) -> Iterator[Graphics]:
    with graphics(lab) as made:
        yield made


@pytest.fixture(autouse=True)
def unplugged(gpus: Graphics) -> Iterator[None]:
    yield
    for name in list(gpus.cards):
        gpus.remove(name)


def opens(lab: Lab, container: str, node: str = NODE) -> None:
    lab.wait_for(lambda: can_open(lab, container, node) == "", 30, f"{node} can't be opened in {container}")


def is_gone(lab: Lab, container: str, node: str = NODE) -> None:
    lab.wait_for(lambda: can_open(lab, container, node) == ABSENT, 30, f"{node} is still in {container}")


def inside(lab: Lab, container: str, *argv: str, user: str = "root") -> str:
    done = lab.in_container(container, *argv, user=user, check=False)
    return (done.stdout + done.stderr).strip()


def mknod(lab: Lab, container: str, *number: str) -> str:
    return inside(lab, container, "mknod", f"/tmp/made-{'-'.join(number)}", "c", *number).rpartition(": ")[2]


@pytest.mark.attack("C19")
@pytest.mark.parametrize("container", KINDS)
def test_a_render_node_opens_while_it_is_granted_and_plugged_in(lab: Lab, gpus: Graphics, container: str) -> None:
    """R8, in every kind of container, units untouched by isod among them."""
    lab.run("isoctl", "start", container, user="alice")
    before = sorted(allowed(lab, container))
    gpus.add(Card())
    assert can_open(lab, container, NODE) == ABSENT
    with added_policy(lab, container, *RENDER):
        opens(lab, container)
        assert sorted(allowed(lab, container)) == sorted([*before, "/dev/char/10:183 rw"])
        gpus.remove("renderD128")
        is_gone(lab, container)
        assert sorted(allowed(lab, container)) == before
        gpus.add(Card())
        opens(lab, container)
    is_gone(lab, container)
    assert sorted(allowed(lab, container)) == before


def test_one_helper_waits_for_devices_while_a_running_container_is_granted_some(lab: Lab, gpus: Graphics) -> None:
    """A device does not wait for a process to start, and one that is killed is replaced."""

    def helpers() -> list[str]:
        units = ("list-units", "--plain", "--no-legend", "--state=running", "isod-helper-node@*")
        return [line.split()[0] for line in lab.run("systemctl", *units).stdout.splitlines()]

    lab.run("isoctl", "start", "blog", user="alice")
    assert helpers() == []
    with added_policy(lab, "blog", *RENDER):
        lab.wait_for(lambda: len(helpers()) == 1, 10, "no helper is there")
        first = helpers()
        for _ in range(3):
            gpus.add(Card())
            opens(lab, "blog")
            gpus.remove("renderD128")
            is_gone(lab, "blog")
        assert helpers() == first
        lab.run("systemctl", "kill", "--signal=KILL", *first)
        lab.wait_for(lambda: helpers() == [], 10, "the helper is not dead")
        gpus.add(Card())
        opens(lab, "blog")
        assert len(helpers()) == 1
    lab.wait_for(lambda: helpers() == [], 10, "the helper stays without need")


@pytest.mark.attack("C19")
@pytest.mark.parametrize("container", ["evil", "priv", "plain"])
def test_root_inside_makes_no_node_and_opens_none_without_a_grant(lab: Lab, gpus: Graphics, container: str) -> None:
    """A node alone is of no use, and DeviceAllow without `m` lets nobody make one: of a card, of memory, of its own."""
    lab.run("isoctl", "start", container, user="root")
    gpus.add(Card())

    def makes_none() -> None:
        for number in (("226", "0"), ("1", "1"), ("10", "183")):
            assert mknod(lab, container, *number) == FORBIDDEN

    makes_none()
    with added_policy(lab, container, *RENDER):
        opens(lab, container)
        makes_none()
        assert inside(lab, container, "ls", "/dev/dri") == "renderD128"
    is_gone(lab, container)
    makes_none()
    # The directory is still shown there.
    kept = f"/run/isod/container/{container}/dri/kept"
    lab.run("sh", "-c", f"mknod -m 666 {kept} c 10 183")
    for user in ("alice", "root"):
        assert can_open(lab, container, "/dev/dri/kept", user) == FORBIDDEN
    lab.run("rm", kept)


@pytest.mark.attack("C19")
def test_the_hosts_nodes_stay_as_they_are_and_nobody_gets_at_the_copies(lab: Lab, gpus: Graphics) -> None:
    """Waydroid makes the host's nodes 0666; docs/adr/0008."""
    gpus.add(Card())
    stat = ("stat", "-c", "%a %U:%G %t:%T %h", NODE)
    before = lab.run(*stat).stdout
    assert before.startswith("660 root:render")
    with added_policy(lab, "blog", *RENDER):
        lab.run("isoctl", "start", "blog", user="alice")
        opens(lab, "blog")
        inside(lab, "blog", "chmod", "0777", NODE)
        inside(lab, "blog", "chown", "alice", NODE)
        assert lab.run(*stat).stdout == before
        for user in ("alice", "mallory"):
            done = lab.run("cat", "/run/isod/container/blog/dri/renderD128", user=user, check=False)
            assert "Permission denied" in done.stderr
    assert lab.run(*stat).stdout == before


def test_what_is_open_stays_open_until_it_is_closed(lab: Lab, gpus: Graphics) -> None:
    """The kernel asks the device cgroup at open(2) only; docs/adr/0008 and the manual say so."""
    gpus.add(Card())
    lab.run("isoctl", "start", "blog", user="alice")
    lab.run("isoctl", "grant", "blog", "gpu=render")
    opens(lab, "blog")
    script = f"import os, sys; fd = os.open({NODE!r}, os.O_RDONLY); print('open', flush=True); sys.stdin.read(1); "
    script += f"print(len(os.pread(fd, 1, 0)), flush=True); os.open({NODE!r}, os.O_RDONLY)"
    pipe = subprocess.PIPE
    with lab.container_popen(
        "blog", "python3", "-c", script, user="alice", stdin=pipe, stdout=pipe, stderr=pipe
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        done = lab.run("isoctl", "revoke", "blog", "gpu")
        assert "have open, they keep" in done.stderr
        out, error = process.communicate(b"x", 30)
    assert out == b"1\n"
    assert ABSENT in error.decode()


def test_a_reload_that_withdraws_it_ends_the_apps_that_had_it(lab: Lab, gpus: Graphics) -> None:
    gpus.add(Card())
    with added_policy(lab, "blog", *RENDER):
        lab.run("isoctl", "start", "blog", user="alice")
        opens(lab, "blog")
        process = lab.popen("isoctl", "run", "blog", "--", "sleep", "4711", user="alice")
        lab.wait_for(lambda: "4711" in inside(lab, "blog", "pgrep", "-fa", "sleep"), 30)
    with process:
        assert process.wait(60) in (129, 143)
    is_gone(lab, "blog")


def test_card_nodes_are_never_given_and_a_dock_of_them_breaks_nothing(lab: Lab, gpus: Graphics) -> None:
    """A docking station brings cards that can set a mode but not render."""
    with added_policy(lab, "blog", *RENDER):
        lab.run("isoctl", "start", "blog", user="alice")
        gpus.add(Card())
        opens(lab, "blog")
        for number in range(6):
            gpus.add(Card(f"card{number}", number=FUSE))
        gpus.tell("change", *gpus.cards.values())
        assert inside(lab, "blog", "ls", "/dev/dri") == "renderD128"
        assert "10:229" not in "".join(allowed(lab, "blog"))
        opens(lab, "blog")


def test_a_choice_by_pci_address_survives_new_numbers(lab: Lab, gpus: Graphics) -> None:
    """Which card comes first is chance: I-106 to I-109, Proxmox 6270, lxd 9047."""
    other = "0000:01:00.0"
    with added_policy(lab, "blog", "[grants]", f'gpu = ["pci-{other}"]'):
        lab.run("isoctl", "start", "blog", user="alice")
        gpus.add(Card("renderD128"))
        gpus.add(Card("renderD129", other, FUSE))
        opens(lab, "blog", "/dev/dri/renderD129")
        assert inside(lab, "blog", "ls", "/dev/dri") == "renderD129"
        # the next boot, with isod and the container down
        lab.run("systemctl", "stop", "isod", lab.unit("blog"))
        for name in list(gpus.cards):
            gpus.remove(name)
        gpus.add(Card("renderD129"))
        gpus.add(Card("renderD128", other, FUSE))
        lab.run("systemctl", "start", "isod")
        lab.run("isoctl", "start", "blog", user="alice")
        opens(lab, "blog", "/dev/dri/renderD128")
        lab.wait_for(lambda: inside(lab, "blog", "ls", "/dev/dri") == "renderD128")
        assert [entry for entry in allowed(lab, "blog") if "/dev/char" in entry] == ["/dev/char/10:229 rw"]


def picture(lab: Lab, container: str) -> tuple[list[str], list[str]]:
    """What a container may open, and what is mounted in it where and from what, without the numbers of mounts."""
    with open(f"/proc/{lab.leader(container)}/mountinfo") as lines:
        mounts = [line.split() for line in lines if "/dev/" in line or "/run/isoctl" in line]
    return sorted(allowed(lab, container)), sorted(" ".join(words[3:6]) for words in mounts if "/pts" not in words[4])


@pytest.mark.parametrize("what", ["kill -9", "daemon-reload", "daemon-reexec", "reboot", "restart"])
@pytest.mark.parametrize("container", ["blog", "priv", "plain"])
def test_all_is_as_before_after(lab: Lab, gpus: Graphics, container: str, what: str) -> None:
    gpus.add(Card())
    with added_policy(lab, container, *RENDER):
        lab.run("isoctl", "start", container, user="alice")
        opens(lab, container)
        # A launch shows its own directories, besides.
        lab.run("isoctl", "run", container, "true", user="alice")
        before = picture(lab, container)
        leader = lab.leader(container)
        match what:
            case "kill -9":
                lab.run("systemctl", "kill", "-s", "KILL", "isod")
                lab.run("isoctl", "run", container, "true", user="alice")
            case "daemon-reload" | "daemon-reexec":
                lab.run("systemctl", what)
            case "reboot":
                lab.in_container(container, "systemctl", "reboot", check=False)
                lab.wait_for(lambda: is_another(lab, container, leader), 60)
                lab.run("isoctl", "start", container, user="alice")
            case "restart":
                lab.run("isoctl", "restart", container, user="alice")
        opens(lab, container)
        lab.run("isoctl", "run", container, "true", user="alice")
        lab.wait_for(lambda: picture(lab, container) == before, 20, f"{before} is now {picture(lab, container)}")


def is_another(lab: Lab, container: str, leader: int) -> bool:
    try:
        return lab.leader(container) != leader
    except LookupError:
        return False


@pytest.mark.slow
def test_a_burst_of_100_ends_right_in_five_containers(lab: Lab, gpus: Graphics) -> None:
    """One mount for each node, no descriptor left, and nobody waits for isod: the last two are the invariants'."""
    containers = ["blog", "priv", "net", "plain", "shared"]
    with ExitStack() as stack:
        for container in containers:
            stack.enter_context(added_policy(lab, container, *RENDER))
        lab.run("isoctl", "start", *containers, user="alice")
        card = Card()
        gpus.burst(card, 50)
        gpus.add(card)
        for container in containers:
            opens(lab, container)
            # PrivateMounts of the lab's own commands aside
            places = [mount.split()[1] for mount in picture(lab, container)[1]]
            assert {places.count(place) for place in places} <= ({1, 3} if container == "priv" else {1})  # locked: 3
            assert allowed(lab, container).count("/dev/char/10:183 rw") == 1
        gpus.remove(card.name)
        for container in containers:
            is_gone(lab, container)
            assert "/dev/char/10:183 rw" not in allowed(lab, container)


# -- other devices


@pytest.fixture
def hwrng(lab: Lab, gpus: Graphics) -> Iterator[str]:
    """A real misc device, which the real udev tells of."""
    node = "/dev/hwrng"
    lab.run("mknod", "-m", "600", node, "c", "10", "183")
    gpus.touch("/sys/class/misc/hw_random")
    yield node
    lab.run("rm", "-f", node)
    gpus.touch("/sys/class/misc/hw_random")


@pytest.mark.parametrize("container", ["blog", "priv", "plain", "deb"])
def test_a_device_by_what_udev_knows_of_it(lab: Lab, gpus: Graphics, hwrng: str, container: str) -> None:
    """In a directory that is the container's own, so by a mount of the one node."""
    lab.run("isoctl", "start", container, user="alice")
    assert can_open(lab, container, hwrng) == ABSENT
    with added_policy(lab, container, "[grants]", 'devices = ["SUBSYSTEM=misc DEVNAME=/dev/hwrng"]'):
        opens(lab, container, hwrng)
        assert "/dev/hwrng (10:183)" in lab.run("isoctl", "status", container, user="alice").stdout
        lab.run("rm", hwrng)
        gpus.touch("/sys/class/misc/hw_random")
        is_gone(lab, container, hwrng)
        lab.run("mknod", "-m", "600", hwrng, "c", "10", "183")
        gpus.touch("/sys/class/misc/hw_random")
        opens(lab, container, hwrng)
        lab.run("isoctl", "restart", container, user="alice")
        opens(lab, container, hwrng)
    is_gone(lab, container, hwrng)
    assert "/dev/char/10:183 rw" not in allowed(lab, container)


def test_a_tap_that_is_made_and_deleted(lab: Lab, gpus: Graphics) -> None:
    """Real hot-plug of the kernel's. The lab's /dev has no devtmpfs, so its node is made by hand."""
    make = "ip link add lab-v0 type veth peer name lab-v1; ip link add link lab-v0 name lab-tap type macvtap"
    with added_policy(lab, "blog", "[grants]", 'devices = ["SUBSYSTEM=macvtap"]'):
        lab.run("isoctl", "start", "blog", user="alice")
        lab.run("sh", "-c", make)
        try:
            found = lab.run("sh", "-c", "echo /sys/class/macvtap/*; cat /sys/class/macvtap/*/dev").stdout.split()
            node = "/dev/" + found[0].rpartition("/")[2]
            lab.run("mknod", node, "c", *found[1].split(":"))
            gpus.touch(found[0])
            opens(lab, "blog", node)
            assert f"/dev/char/{found[1]} rw" in allowed(lab, "blog")
            lab.run("rm", node)
        finally:
            lab.run("ip", "link", "del", "lab-v0")
        is_gone(lab, "blog", node)
        lab.wait_for(lambda: f"/dev/char/{found[1]} rw" not in allowed(lab, "blog"))


# -- grants to a running container


def test_a_grant_lasts_until_the_container_stops(lab: Lab, gpus: Graphics) -> None:
    gpus.add(Card())
    lab.run("isoctl", "start", "blog", user="alice")
    assert can_open(lab, "blog", NODE) == ABSENT
    before = allowed(lab, "blog")
    lab.run("isoctl", "grant", "blog", "gpu=render")
    assert can_open(lab, "blog", NODE) == ""
    shown = lab.run("isoctl", "status", "blog", user="alice").stdout
    assert "gpu=render" in shown
    assert "gpu: /dev/dri/renderD128 (10:183, PCI 0000:00:02.0)" in shown
    lab.run("systemctl", "kill", "-s", "KILL", "isod")
    lab.wait_for(lambda: "gpu=render" in lab.run("isoctl", "status", "blog", user="alice", check=False).stdout, 30)
    assert can_open(lab, "blog", NODE) == ""
    lab.run("isoctl", "restart", "blog", user="alice")
    lab.wait_for(lambda: "gpu=none" in lab.run("isoctl", "status", "blog", user="alice").stdout)
    is_gone(lab, "blog")
    assert sorted(allowed(lab, "blog")) == sorted(before)
    records = lab.journal(unit="isod.service", ISOCTL_KIND="decision", ISOCTL_METHOD="Container.Grant")
    assert (records[-1]["ISOCTL_RESOURCE"], records[-1]["ISOCTL_OUTCOME"]) == ("gpu=render", "allowed")
    attached = lab.journal(unit="isod.service", ISOCTL_KIND="attach", ISOCTL_RESOURCE="gpu")
    assert "renderD128" in attached[-1]["ISOCTL_DEVICE"]


def test_a_grant_is_taken_back(lab: Lab, gpus: Graphics) -> None:
    gpus.add(Card())
    lab.run("isoctl", "start", "plain", user="alice")
    before = picture(lab, "plain")[0]
    lab.run("isoctl", "grant", "plain", "gpu=render")
    assert can_open(lab, "plain", NODE) == ""
    lab.run("isoctl", "revoke", "plain", "gpu")
    assert can_open(lab, "plain", NODE) == ABSENT
    assert picture(lab, "plain")[0] == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("grant", "blog", "gpu=card0"), "'card0' is not a PCI address"),
        (("grant", "blog", "gpu=none"), "isoctl revoke"),
        (("grant", "blog", "wayland=raw"), "is none of devices, gpu"),
        (("grant", "blog", "devices=SUBSYSTEM=mem"), "is the host's memory"),
        (("revoke", "blog", "gpu"), "nobody granted it"),
        (("grant", "blog", "gpu"), "RESOURCE=VALUE"),
    ],
)
def test_what_is_refused_is_told_in_a_line(lab: Lab, gpus: Graphics, arguments: tuple[str, ...], words: str) -> None:
    lab.run("isoctl", "start", "blog", user="alice")
    done = lab.run("isoctl", *arguments, check=False)
    assert done.returncode
    assert words in done.stderr
    assert done.stderr.count("\n") <= 2


def test_the_ceiling_holds_for_a_grant_and_ends_it(lab: Lab, gpus: Graphics) -> None:
    gpus.add(Card())
    settings = lab.host_path("/etc/isod/isod.toml")
    lab.run("isoctl", "start", "blog", user="alice")
    lab.run("isoctl", "grant", "blog", "gpu=render")
    assert can_open(lab, "blog", NODE) == ""
    before = settings.read_text()
    settings.write_text(before + '\n[never]\ngpu = ["render"]\n')
    try:
        lab.run("isoctl", "reload")
        is_gone(lab, "blog")
        done = lab.run("isoctl", "grant", "blog", "gpu=render", check=False)
        assert "[never]" in done.stderr
    finally:
        settings.write_text(before)
        lab.run("isoctl", "reload")
    assert can_open(lab, "blog", NODE) == ABSENT
