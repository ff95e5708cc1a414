"""Errors of the D-Bus protocol itself, apart from those of isod_contract.errors."""

_PREFIX = "org.freedesktop.DBus.Error."


class RefusedError(Exception):
    """A call that fails before it reaches anything of ours; the text says nothing that depends on an object."""

    def __init__(self, name: str, text: str) -> None:
        """Take the part of the error's name after org.freedesktop.DBus.Error and a fixed sentence."""
        super().__init__(text)
        self.name = _PREFIX + name
        self.text = text


def access_denied(reason: str) -> RefusedError:
    """Refuse the caller as such."""
    return RefusedError("AccessDenied", reason)
