"""Object paths and names of org.freedesktop.systemd1(5), the same on the host and in a container."""

from isod_contract.names import escape_label

SYSTEMD = "org.freedesktop.systemd1"
SYSTEMD_PATH = "/org/freedesktop/systemd1"
MANAGER_INTERFACE = "org.freedesktop.systemd1.Manager"
UNIT_INTERFACE = "org.freedesktop.systemd1.Unit"
PROPERTIES_INTERFACE = "org.freedesktop.DBus.Properties"

UNIT_EXISTS = "org.freedesktop.systemd1.UnitExists"
# A job that conflicts with those that are under way: nothing is started in what shuts down.
IS_DESTRUCTIVE = "org.freedesktop.systemd1.TransactionIsDestructive"


def unit_path(unit: str) -> str:
    """Give the object path of a unit; it is the same before the unit is loaded, so it can be matched in advance."""
    return f"{SYSTEMD_PATH}/unit/{escape_label(unit)}"
