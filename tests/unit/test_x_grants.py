"""What an X server of a container may open follows the container's grants while it runs."""

import os

import pytest

from isod_session.handover import READY
from test_x_servers import Desk, desk, until

__all__ = ["desk"]


@pytest.mark.attack("C41")
async def test_a_server_that_runs_ends_with_the_grant_of_its_device(desk: Desk) -> None:
    """By DRI3Open it hands the device to every new client, for as long as it runs."""
    await desk.servers.serve("blog", desk.listen("X"), ["/dev/dri/renderD128"])
    with desk.connect("X"):
        run = await desk.started()
        run.report(READY)
        await until(lambda: desk.servers.running)
        await desk.servers.serve("blog", os.dup(desk.listeners["X"].fileno()), [])
        assert desk.units.stopped == ["blog"]
        assert not (await desk.started(2)).given.has_gpu
