"""Devices of graphics in a container's X server: those that the container is granted, and none without."""

import json
from collections.abc import Iterator

import pytest

from lab.compositors import Sway
from lab.contained import Contained, policy
from lab.devices import Card, Graphics, graphics
from lab.machine import Lab

pytestmark = pytest.mark.breaks("host-files")

PROGRAM = "/usr/libexec/isod-xserver"
# In the place of the X server, in its unit: looks at what there is, and tries to open it.
LOOKS = r"""
import json, os, stat, sys
found = {}
for top, _, names in os.walk("/dev"):
    for name in names:
        path = os.path.join(top, name)
        try:
            links = ("/dev/pts", "/dev/fd", "/dev/char", "/dev/std")
            if stat.S_ISCHR(os.stat(path).st_mode) and not path.startswith(links):
                os.close(os.open(path, os.O_RDONLY | os.O_NOCTTY))
                found[path] = "opens"
        except OSError as error:
            found[path] = error.strerror
sys.stderr.write("DEVICES " + json.dumps(found) + "\n")
"""
EVERYBODYS = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "ptmx")}


@pytest.fixture(scope="module")
def gpus(lab: Lab) -> Iterator[Graphics]:
    with graphics(lab) as made:
        made.add(Card())
        yield made


@pytest.fixture(scope="module")
def desk(lab: Lab, mode: str, gpus: Graphics) -> Iterator[Sway]:
    with lab.desktop("alice", tells="nothing") as desktop:
        assert isinstance(desktop, Sway)
        yield desktop


@pytest.fixture(scope="module")
def looks(lab: Lab) -> Iterator[None]:
    program = lab.host_path(PROGRAM)
    kept = program.read_text()
    lab.host_path("/usr/share/lab/looks.py").write_text(LOOKS)
    program.write_text("#!/bin/sh\nexec python3 /usr/share/lab/looks.py\n")
    yield
    program.write_text(kept)


def seen(lab: Lab, desk: Sway) -> dict[str, str]:
    """What the container's next X server finds below /dev, and whether it can open it."""
    desk.run("systemctl", "--user", "restart", "isod-session")  # forgets the servers that ended before
    count = _journal(lab).count("DEVICES")
    app = Contained(desk, "blog", "xdpyinfo")
    lab.wait_for(lambda: _journal(lab).count("DEVICES") > count, 40, f"it did not run\n{app.output}")
    app.end()
    found: dict[str, str] = json.loads(_journal(lab).rpartition("DEVICES ")[2].splitlines()[0])
    return {path: ended for path, ended in found.items() if path not in EVERYBODYS}


def _journal(lab: Lab) -> str:
    return lab.run("journalctl", "-q", "--no-pager", "-o", "cat", "SYSLOG_IDENTIFIER=isod-xserver").stdout


@pytest.mark.attack("C41")
def test_it_has_the_granted_nodes_and_no_other(lab: Lab, desk: Sway, gpus: Graphics, looks: None) -> None:
    """A8: without the grant there is nothing that DRI3Open could open for a client."""
    assert seen(lab, desk) == {}
    with policy(lab, "blog", "[grants]", 'gpu = "render"'):
        desk.run("isoctl", "run", "blog", "true")
        lab.wait_for(lambda: "renderD128" in desk.run("isoctl", "status", "blog").stdout, 20, "it is not attached")
        assert seen(lab, desk) == {"/dev/dri/renderD128": "opens"}
    desk.run("isoctl", "run", "blog", "true")
    assert seen(lab, desk) == {}
