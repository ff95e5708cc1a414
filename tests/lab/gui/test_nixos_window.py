"""Windows from a container laid out as NixOS does it, by the binds that the Nix module puts into its .conf."""

from collections.abc import Iterator

import pytest

from lab.compositors import Sway
from lab.contained import Contained, show
from lab.machine import Lab
from lab.nixos import USR_FLAG, Evaluated, install
from lab.programs import FOOT, XTERM, Program
from laid_out import laid_out

# Its profile says what the hand-written recipe says of the display, long out of date.
_HOST = """
{
  users.users.alice = { isNormalUser = true; uid = 1000; };
  betterContainers.base.userName = "alice";
  betterContainers.containers.nixos = {
    network = "none";
    config = { environment.sessionVariables = { WAYLAND_DISPLAY = "wayland-7"; DISPLAY = ":7"; }; };
  };
  containers.nixos.extraFlags = [ "USR_FLAG" ];
}
"""


@pytest.fixture(scope="module")
def nixos(lab: Lab) -> Iterator[str]:
    install(lab, Evaluated(name="nixos", **laid_out(_HOST.replace("USR_FLAG", USR_FLAG))["containers"]["nixos"]))
    lab.run("isoctl", "reload")
    yield "nixos"
    lab.run("systemctl", "stop", "container@nixos", check=False)


@pytest.mark.parametrize("program", [FOOT, XTERM], ids=lambda program: program.name)
def test_it_shows_windows_whatever_its_profile_says_of_the_display(
    clean_desk: Sway, nixos: str, program: Program
) -> None:
    show(clean_desk, nixos, program, f"{program.name} in NixOS").end()


def test_its_display_is_the_one_that_was_bound_at_its_start(lab: Lab, clean_desk: Sway, nixos: str) -> None:
    app = Contained(clean_desk, nixos, "printenv", "WAYLAND_DISPLAY", "DISPLAY")
    app.process.wait(60)
    assert app.output.split() == ["/run/isoctl/1000/wayland-0", "/run/isoctl/1000/X"]
