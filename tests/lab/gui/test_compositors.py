"""What remains beyond windows on each compositor: the table of SECURITY.md is what is found on the real ones.

A9: KWin gave apps in a container the clipboard without focus, and no list had half of what else it gave.
"""

import pytest

from generate_compositors import TRIED, Tried
from isod_contract.registry import beyond_windows
from lab.contained import offers
from lab.machine import Lab

MARKS = {"kwin": [pytest.mark.gui_full]}


@pytest.mark.attack("C18")
@pytest.mark.parametrize(
    "tried", [pytest.param(tried, id=tried.kind, marks=MARKS.get(tried.kind, [])) for tried in TRIED]
)
def test_the_table_is_what_an_app_finds_and_what_is_told(lab: Lab, tried: Tried) -> None:
    with lab.desktop("alice", tried.kind) as desk:
        if tried.mode == "unsafe":
            refused = desk.run("isoctl", "run", "--display", "require", "blog", "true", check=False)
            assert refused.returncode == 125
            assert all(name in refused.stderr for name in tried.remains)
            return
        # What an isod-session of the desktop before this one told of that may hold for a moment.
        lab.wait_for(lambda: "wl_compositor" in offers(desk, "blog"), 20, "no display")
        offered = offers(desk, "blog")
        assert tuple(beyond_windows(offered)) == tried.remains
        status = desk.run("isoctl", "status", "blog").stdout
        exposure = desk.run("isoctl", "exposure", "blog", check=False).stdout
        doctor = desk.run("isoctl", "doctor", check=False).stdout
        for name in tried.remains:
            assert name in status
            assert name in exposure
            assert name in doctor
        assert ("compositor-beyond-windows" in doctor) == bool(tried.remains)
