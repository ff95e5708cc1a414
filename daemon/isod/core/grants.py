"""Grants to a running container: beside what policy grants, under its ceiling, until the container stops."""

from collections.abc import Collection, Mapping

from isod.authorise import Verb
from isod.core.container import Container
from isod.core.containers import Containers
from isod.core.device_records import DeviceRecords, RunTimeGrant
from isod.core.devices import Devices
from isod.ports import Caller
from isod.resources import GrantValue, device_kinds, kinds
from isod_contract.errors import ContainerGone, InvalidArgument, IsodError, NotGranted, NotPermitted, Unsupported

_TEXT_CHARS_MAX = 1024


class Grants:
    """Asks whether somebody may grant or revoke, keeps what was granted, and has it done."""

    def __init__(self, *, containers: Containers, devices: Devices, records: DeviceRecords) -> None:
        """Take the parts."""
        self._containers = containers
        self._devices = devices
        self._records = records

    async def grant(self, container: Container, caller: Caller, asked: Mapping[str, str]) -> None:
        """Grant resources, each at a level or a list with commas, and wait until they are attached.

        Raises InvalidArgument, NotPermitted, NoAuthentication, ContainerGone, Unsupported.
        """
        told = {"resource": " ".join(f"{key}={text}" for key, text in asked.items())[:_TEXT_CHARS_MAX]}
        values, run, wrong = self._checked(container, asked)
        await self._containers.authorise(container, caller, Verb.GRANT, wrong=wrong, told=told)
        # The question may have been open for minutes.
        if run != container.invocation_id or container.guest is None:
            raise ContainerGone(container=container.name, reason="it was started again meanwhile; grant it anew")
        for key, value in values.items():
            self._check_ceiling(key, value)
        record = self._records.of(container.unit)
        record.end_grants(run, {})
        record.invocation_id = run
        record.granted |= {key: RunTimeGrant(value, caller.uid) for key, value in values.items()}
        self._records.save(record)
        await self._devices.settle(container)
        refused = [text for key in values for text in self._devices.problems(container, key)]
        if refused:
            raise Unsupported(what="a part of that", reason=refused[0])

    async def revoke(self, container: Container, caller: Caller, keys: Collection[str]) -> None:
        """Take back what was granted to a running container, and wait until it is gone.

        Raises InvalidArgument, NotGranted, NotPermitted, NoAuthentication.
        """
        wrong = self._why_not_granted(container, keys)
        own = not wrong and all(self._records.of(container.unit).granted[key].uid == caller.uid for key in keys)
        told = {"resource": " ".join(keys)[:_TEXT_CHARS_MAX]}
        await self._containers.authorise(container, caller, Verb.REVOKE, own=own, wrong=wrong, told=told)
        record = self._records.of(container.unit)
        record.granted = {key: grant for key, grant in record.granted.items() if key not in keys}
        self._records.save(record)
        await self._devices.settle(container)

    def _checked(
        self, container: Container, asked: Mapping[str, str]
    ) -> tuple[dict[str, GrantValue], str, IsodError | None]:
        """Give the values that were asked for, the run of the container that they are for, and what is wrong."""
        if not asked:
            return {}, "", InvalidArgument(argument="grants", reason="is empty, name a resource")
        if container.guest is None:
            reason = "this grants to a running container; start it first"
            return {}, "", ContainerGone(container=container.name, reason=reason)
        try:
            return {key: self._check(key, text) for key, text in asked.items()}, container.invocation_id, None
        except IsodError as error:
            return {}, "", error

    def _check(self, untrusted_key: str, untrusted_text: str) -> GrantValue:
        kind = device_kinds().get(untrusted_key)
        if kind is None:
            reason = f"is none of {', '.join(device_kinds())}; what else there is, policy grants"
            raise InvalidArgument(argument=ascii(untrusted_key[:64]), reason=reason)
        if len(untrusted_text) > _TEXT_CHARS_MAX:
            raise InvalidArgument(argument=untrusted_key, reason=f"is longer than {_TEXT_CHARS_MAX} characters")
        try:
            value = kind.parse(untrusted_text)
        except ValueError as error:
            raise InvalidArgument(argument=untrusted_key, reason=str(error)) from None
        if kind.level_of(value) == kind.levels[0]:
            raise InvalidArgument(argument=untrusted_key, reason="that grants nothing; `isoctl revoke` takes back")
        self._check_ceiling(untrusted_key, value)
        return value

    def _check_ceiling(self, key: str, value: GrantValue) -> None:
        forbidden = self._containers.policy.settings.never.forbidden().get(key, ())
        if kinds()[key].lowered(value, forbidden) != value:
            raise NotPermitted(reason=f"[never] of isod.toml forbids {key} = {kinds()[key].level_of(value)}")

    def _why_not_granted(self, container: Container, keys: Collection[str]) -> IsodError | None:
        if not keys:
            return InvalidArgument(argument="resources", reason="is empty, name a resource")
        for key in keys:
            if key not in container.granted:
                by_policy = key in kinds() and container.policy.grants.level(key) != "none"
                reason = "its policy grants it; change that" if by_policy else "nobody granted it while it runs"
                return NotGranted(resource=repr(key[:64]), container=container.name, reason=reason)
        return None
