"""The host's time zone: by the link of /etc/localtime, and only where a container knows it and shows another."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from isod.host.time_zone import host_zone, zone_to_tell


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    """A container with two zones, and the descriptor of its root."""
    zones = tmp_path / "usr/share/zoneinfo"
    for zone in ("Asia/Tokyo", "Europe/Berlin"):
        (zones / zone).parent.mkdir(parents=True, exist_ok=True)
        (zones / zone).write_bytes(b"TZif")
    (tmp_path / "etc").mkdir()
    fd = os.open(tmp_path, os.O_PATH)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    ("target", "zone"),
    [
        ("/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"),
        ("../usr/share/zoneinfo/America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("/etc/zoneinfo/Etc/GMT+3", "Etc/GMT+3"),
        ("/usr/share/zoneinfo/../../x", ""),
        ("/usr/share/zoneinfo/", ""),
        ("/somewhere", ""),
        (None, ""),
    ],
)
def test_the_hosts_zone_is_what_its_link_names(tmp_path: Path, target: str | None, zone: str) -> None:
    link = tmp_path / "localtime"
    if target:
        link.symlink_to(target)
    assert host_zone(str(link)) == zone


def test_a_container_is_told_a_zone_that_it_knows_and_does_not_show(tmp_path: Path, root: int) -> None:
    """R-45: it showed the zone that the host had when it was started."""
    assert zone_to_tell(root, "Asia/Tokyo") == "Asia/Tokyo"
    (tmp_path / "etc/localtime").symlink_to("../usr/share/zoneinfo/Europe/Berlin")
    assert zone_to_tell(root, "Asia/Tokyo") == "Asia/Tokyo"
    assert zone_to_tell(root, "Europe/Berlin") == ""
    # Programs would take a zone that they do not find for UTC.
    assert zone_to_tell(root, "Africa/Cairo") == ""
    assert zone_to_tell(root, "") == ""
