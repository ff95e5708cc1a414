"""What isod makes of machined's answers, on a real bus."""

from typing import Any

import pytest

from buses import Connect
from isod.host.machined import Machined
from isod_contract.errors import ContainerGone, HostSilent, IsodError, Unsupported
from isod_wire import Connection, Message

pytestmark = pytest.mark.asyncio
MACHINE1 = "org.freedesktop.machine1"


async def answering(connect_bus: Connect, answer: int | tuple[str, str]) -> Machined:
    """A machined that answers MapFromMachineUser with a uid, or with an error's name and text."""
    service: Connection = await connect_bus()

    def on_call(call: Message) -> None:
        with call:
            if isinstance(answer, int):
                service.reply(call, "u", [answer])
            else:
                service.reply_error(call, f"{MACHINE1}.{answer[0]}", answer[1])

    service.on_call(on_call)
    await service.request_name(MACHINE1)
    return Machined(await connect_bus())


@pytest.mark.parametrize("uid", [0, 65536, 723_320_832])
async def test_the_containers_root_is_the_uid_that_machined_says(connect_bus: Connect, uid: int) -> None:
    """Without a user namespace systemd 257 maps one to one, so root is 0 and no error comes."""
    assert await (await answering(connect_bus, uid)).uid_shift("blog") == uid


@pytest.mark.attack("C04")
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (("NoSuchUserMapping", "Machine 'blog' has no matching user mappings."), Unsupported),
        (("NoSuchMachine", "No machine 'blog' known"), ContainerGone),
        (("NoSuchMachine", "this has no user namespaces"), ContainerGone),
        (1000, Unsupported),
    ],
    ids=["root is nobody", "no machine", "no text is believed", "root is a user of the host"],
)
async def test_a_root_that_is_nobodys_or_a_users_is_never_taken_for_the_hosts(
    connect_bus: Connect, answer: Any, error: type[IsodError]
) -> None:
    with pytest.raises(error):
        await (await answering(connect_bus, answer)).uid_shift("blog")


@pytest.mark.parametrize("name", [None, f"{MACHINE1}.Other"])
async def test_one_that_is_gone_or_fails_is_not_taken_for_a_container_that_is(
    connect_bus: Connect, name: str | None
) -> None:
    """F16: a machined that was killed read as "it is not registered" and "container stopped"."""
    machined = Machined(await connect_bus()) if name is None else await answering(connect_bus, ("Other", "no"))
    for asked in (machined.status("blog"), machined.uid_shift("blog")):
        with pytest.raises(HostSilent, match="the host's machined does not answer"):
            await asked
