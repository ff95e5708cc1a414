"""Device nodes of the host in containers: who can open them, how they come and go, and what is left afterwards."""

from collections.abc import Iterator

import pytest

from lab.devices import Card, Graphics, allowed, can_open, graphics
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


def mknod(lab: Lab, container: str, *number: str) -> str:
    script = f"mknod /tmp/made c {' '.join(number)} && rm /tmp/made"
    return lab.in_container(container, "sh", "-c", script, check=False).stderr.strip().rpartition(": ")[2]


@pytest.mark.attack("C19")
@pytest.mark.parametrize("container", KINDS)
def test_a_render_node_opens_while_it_is_granted_and_plugged_in(lab: Lab, gpus: Graphics, container: str) -> None:
    """R8, in every kind of container, units untouched by isod among them."""
    lab.run("isoctl", "start", container, user="alice")
    before = allowed(lab, container)
    gpus.add(Card())
    assert can_open(lab, container, NODE) == ABSENT
    with added_policy(lab, container, *RENDER):
        opens(lab, container)
        assert sorted(allowed(lab, container)) == sorted([*before, "/dev/char/10:183 rw"])
        gpus.remove("renderD128")
        is_gone(lab, container)
        assert sorted(allowed(lab, container)) == sorted(before)
        gpus.add(Card())
        opens(lab, container)
    is_gone(lab, container)
    assert sorted(allowed(lab, container)) == sorted(before)
