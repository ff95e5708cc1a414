"""What is told of a container whose files can't be booted, in place of "its unit is inactive" (N16)."""

from pathlib import Path

import pytest

from isod.host.start_guard import StoppedRoots
from isod.nspawn_root import booted_directory, root_directory

ROOT = "/var/lib/machines/ghost"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "var/lib/machines").mkdir(parents=True)
    return tmp_path / ROOT.lstrip("/")


async def lack(place: Path) -> str:
    return await StoppedRoots(root=str(place.parents[3])).lack(ROOT, "ghost")


async def test_a_directory_that_is_not_there(place: Path) -> None:
    assert await lack(place) == f"{ROOT}, where its files must be, is not there"


async def test_an_image_in_its_place(place: Path) -> None:
    place.with_suffix(".raw").touch()
    said = await lack(place)
    assert f"an image such as {ROOT}.raw" in said
    assert '`unit = "systemd-nspawn@' in said


async def test_a_file_in_its_place(place: Path) -> None:
    place.touch()
    assert await lack(place) == f"{ROOT} is not a directory"


async def test_an_empty_directory(place: Path) -> None:
    place.mkdir()
    assert await lack(place) == f"{ROOT} has no /etc/os-release, so no system is installed there"


async def test_a_system_without_an_init_and_one_with(place: Path) -> None:
    (place / "usr/lib/systemd").mkdir(parents=True)
    (place / "usr/lib/os-release").touch()
    (place / "etc").mkdir()
    # as distributions have it, and by a link that leads nowhere but inside
    (place / "etc/os-release").symlink_to("../usr/lib/os-release")
    (place / "lib").symlink_to("/usr/lib")
    assert "has no init to boot" in await lack(place)
    (place / "usr/lib/systemd/systemd").touch()
    assert await lack(place) == ""


async def test_a_usr_that_is_bound_when_it_starts_is_not_missed(place: Path) -> None:
    """As volatile systems and this project's lab have it: with a wrong reason a failed start said less than before."""
    (place / "etc").mkdir(parents=True)
    (place / "etc/os-release").touch()
    assert await lack(place) == ""
    (place / "usr").mkdir()
    assert await lack(place) == ""


@pytest.mark.parametrize(
    ("command", "booted"),
    [
        (["/usr/bin/systemd-nspawn", "--boot", "--machine=x", "--directory=/a"], "/a"),
        (["systemd-nspawn", "-b", "-D", "/a"], "/a"),
        (["systemd-nspawn", "-b", "--machine=x"], ""),  # it may be an image
        (["systemd-nspawn", "-D", "/a", "/nix/init"], ""),
        (["/nix/store/x-start", "--boot", "-D", "/a"], ""),  # NixOS's script makes the files first
        ([], ""),
    ],
)
def test_only_a_directory_that_nspawn_boots_itself_is_looked_at(command: list[str], booted: str) -> None:
    assert booted_directory(command) == booted
    assert root_directory(command, "x") == ("/a" if "/a" in str(command) else "/var/lib/machines/x")
