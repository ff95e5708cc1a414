"""DeviceAllow of containers' units: isod's own entries, beside those of the administrator."""

from collections.abc import Set as AbstractSet

from isod.core.device_records import DeviceRecord, DeviceRecords
from isod.ports import HostUnits

_OWN = "/dev/char/"  # then the number; as one would hardly write it by hand
_RIGHTS = "rw"  # never "m": root in the container could make nodes of any device that it may make


class DeviceAllow:
    """Makes isod's part of the property what it must be; the property mixes both, so a record tells them apart."""

    def __init__(self, units: HostUnits, records: DeviceRecords) -> None:
        """Take systemd and the records."""
        self._units = units
        self._records = records

    async def apply(self, record: DeviceRecord, numbers: AbstractSet[str]) -> None:
        """Let the unit open the devices of these numbers, and none that an earlier call let it open.

        Raises Unsupported, NoSpace.
        """
        if not numbers and not record.allowed:
            return
        settings = await self._units.settings(record.unit)
        # It may open every device, and an entry would take all others away.
        is_open = settings.device_policy == "auto" and not settings.device_allow
        ours = {_OWN + number for number in record.allowed}
        others = [entry for entry in settings.device_allow if entry[0] not in ours]
        present = {what for what, rights in settings.device_allow if what in ours and rights == _RIGHTS}
        odd = any(what in ours and rights != _RIGHTS for what, rights in settings.device_allow)
        theirs = {what for what, rights in others if set(_RIGHTS) <= set(rights)}
        needed = set() if is_open else {_OWN + number for number in numbers} - theirs
        # Recorded before they exist, else an isod that ends in between would take them for the administrator's.
        self._remember(record, {item.removeprefix(_OWN) for item in needed | present})
        if odd or present - needed:
            entries = [*others, *((item, _RIGHTS) for item in sorted(needed))]
            await self._units.allow_devices(record.unit, entries, only=True)
        elif needed - present:
            await self._units.allow_devices(
                record.unit, [(item, _RIGHTS) for item in sorted(needed - present)], only=False
            )
        self._remember(record, {item.removeprefix(_OWN) for item in needed})

    def _remember(self, record: DeviceRecord, numbers: set[str]) -> None:
        if record.allowed != numbers:
            record.allowed = numbers
            self._records.save(record)
