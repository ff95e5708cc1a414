"""Grants to a running container: who is asked, what is refused before anybody is, and what is kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from device_fakes import UNIT, World, card
from isod.authorise import Verb
from isod.core.grants import Grants
from isod.policy_loader import Policy
from isod.ports import Caller
from isod.settings import DaemonSettings
from isod_contract.errors import ContainerGone, InvalidArgument, IsodError, NotGranted, NotPermitted, Unsupported

ALICE = Caller(":1.2", 1000, "alice")
BOB = Caller(":1.3", 1001, "bob")


class Containers:
    """What decides, with the decision of the test's."""

    def __init__(self) -> None:
        self.policy = Policy({}, DaemonSettings())
        self.asked: list[tuple[Verb, Mapping[str, Any]]] = []
        self.refused: IsodError | None = None
        self.meanwhile: Any = lambda: None

    async def authorise(self, _container: Any, _caller: Caller, verb: Verb, **facts: Any) -> str:
        self.asked.append((verb, facts))
        if error := facts.get("wrong") or self.refused:
            raise error
        self.meanwhile()
        return "grant"


class Desk:
    def __init__(self, path: Path) -> None:
        self.world = World(path)
        self.containers: Any = Containers()
        self.grants = Grants(containers=self.containers, devices=self.world.devices, records=self.world.files)
        self.container = self.world.container

    async def grant(self, caller: Caller = ALICE, **asked: str) -> None:
        await self.grants.grant(self.container, caller, asked)

    async def revoke(self, *keys: str, caller: Caller = ALICE) -> None:
        await self.grants.revoke(self.container, caller, keys)


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    await made.world.run()
    await made.world.plug(card())
    return made


async def test_a_grant_is_there_when_it_is_answered_and_gone_when_revoke_is(desk: Desk) -> None:
    await desk.grant(gpu="render")
    assert desk.world.seen == ["/dev/dri/renderD128"]
    assert desk.world.followed == {"drm"}
    [(verb, facts)] = desk.containers.asked
    assert (verb, facts["told"]) == (Verb.GRANT, {"resource": "gpu=render"})
    await desk.revoke("gpu")
    assert desk.world.seen == []
    assert desk.containers.asked[1][1]["own"] is True


async def test_a_list_is_written_with_commas(desk: Desk) -> None:
    await desk.grant(gpu="pci-0000:00:02.0,0000:01:00.0", devices="SUBSYSTEM=hidraw ID_VENDOR_ID=1050")
    assert desk.container.granted == {
        "gpu": ("0000:00:02.0", "0000:01:00.0"),
        "devices": ("SUBSYSTEM=hidraw ID_VENDOR_ID=1050",),
    }


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({}, InvalidArgument, "name a resource"),
        ({"gpu": "card0"}, InvalidArgument, "not a PCI address"),
        ({"gpu": "none"}, InvalidArgument, "isoctl revoke"),
        ({"gpu": ""}, InvalidArgument, "empty"),
        ({"gpu": "0000:00:02.0," * 100}, InvalidArgument, "longer than"),
        ({"devices": "listed"}, InvalidArgument, "a list of matches"),
        ({"devices": "SUBSYSTEM=block"}, InvalidArgument, "can't be matched"),
        ({"devices": "SUBSYSTEM=drm"}, InvalidArgument, "is what `gpu` grants"),
        ({"root": "yes"}, InvalidArgument, "is none of devices, gpu"),
        ({"\x1b[31m": "x"}, InvalidArgument, r"\\x1b"),
    ],
)
async def test_what_is_wrong_in_itself_is_asked_of_nobody(
    desk: Desk, asked: dict[str, str], error: type[IsodError], words: str
) -> None:
    with pytest.raises(error, match=words):
        await desk.grants.grant(desk.container, ALICE, asked)
    assert isinstance(desk.containers.asked[0][1]["wrong"], error)
    assert desk.container.granted == {}


async def test_a_refusal_keeps_nothing(desk: Desk) -> None:
    desk.containers.refused = NotPermitted(reason="no")
    with pytest.raises(NotPermitted):
        await desk.grant(gpu="render")
    assert (desk.world.seen, desk.world.files.of(UNIT).granted) == ([], {})


async def test_the_ceiling_holds_also_when_it_comes_during_the_question(desk: Desk) -> None:
    forbidding = Policy({}, DaemonSettings.model_validate({"never": {"gpu": ["render"]}}))
    desk.containers.meanwhile = lambda: setattr(desk.containers, "policy", forbidding)
    for _ in range(2):
        with pytest.raises(NotPermitted, match="forbids gpu = render"):
            await desk.grant(gpu="render")
    assert desk.containers.asked[1][1]["wrong"] is not None
    assert desk.world.seen == []


async def test_a_stopped_container_and_one_that_starts_meanwhile_get_nothing(desk: Desk) -> None:
    desk.containers.meanwhile = lambda: desk.world.start("cd" * 16)
    with pytest.raises(ContainerGone, match="meanwhile"):
        await desk.grant(gpu="render")
    desk.world.stop()
    with pytest.raises(ContainerGone, match="start it first"):
        await desk.grant(gpu="render")
    await desk.world.settle()
    assert desk.world.files.of(UNIT).granted == {}


async def test_what_can_not_be_attached_is_told(desk: Desk) -> None:
    desk.world.refused = Unsupported(what="a graphics device", reason="it has a /dev/dri of its own")
    with pytest.raises(Unsupported, match="of its own"):
        await desk.grant(gpu="render")


async def test_who_did_not_grant_is_asked_before_he_revokes(desk: Desk) -> None:
    await desk.grant(gpu="render")
    await desk.revoke("gpu", caller=BOB)
    assert desk.containers.asked[1][1]["own"] is False


@pytest.mark.parametrize(
    ("keys", "words"), [(("gpu",), "nobody granted it"), (("devices", "gpu"), "nobody"), (("x",), "x")]
)
async def test_only_what_was_granted_can_be_revoked(desk: Desk, keys: tuple[str, ...], words: str) -> None:
    with pytest.raises(NotGranted, match=words):
        await desk.revoke(*keys)
    with pytest.raises(InvalidArgument):
        await desk.revoke()


async def test_what_policy_grants_is_policys_to_take(desk: Desk) -> None:
    desk.world.grant(gpu="render")
    await desk.world.settle()
    with pytest.raises(NotGranted, match="its policy grants it"):
        await desk.revoke("gpu")
