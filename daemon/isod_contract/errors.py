"""Every error that a caller may see, declared once: D-Bus name, sentence, exit code of `isoctl`."""

from typing import Any, ClassVar

PREFIX = "org.isoctl1.Error."
# Some fields are words of a container's, and an error is kept with the app that it is about.
_TEXT_CHARS_MAX = 2048


class IsodError(Exception):
    """Base of all errors that may leave isod; each subclass is one condition with a name of its own.

    Keyword arguments fill the template; the text is one line that states the fact and the way out.
    """

    template: ClassVar[str] = ""
    exit_code: ClassVar[int] = 1
    registry: ClassVar[dict[str, type["IsodError"]]] = {}
    root_detail: str = ""
    """What the host's root may read besides, and nobody else."""

    def __init_subclass__(cls, *, template: str, exit_code: int = 1) -> None:
        """Register the subclass under its D-Bus name."""
        cls.template = template
        cls.exit_code = exit_code
        if cls.__name__ in IsodError.registry:
            message = f"error {cls.__name__} is declared twice"
            raise TypeError(message)
        IsodError.registry[cls.__name__] = cls

    def __init__(self, **fields: Any) -> None:
        """Build the text from the template and the fields."""
        self.fields = fields
        text = " ".join(self.template.format(**fields).splitlines())
        super().__init__(text if len(text) <= _TEXT_CHARS_MAX else f"{text[:_TEXT_CHARS_MAX]}...")

    @property
    def name(self) -> str:
        """The D-Bus error name."""
        return PREFIX + type(self).__name__

    @property
    def text(self) -> str:
        """The sentence, without a name before it."""
        return str(self.args[0])

    def text_for(self, *, is_root: bool) -> str:
        """Give the sentence, to root with what root alone may read."""
        return f"{self.text}; {self.root_detail}" if is_root and self.root_detail else self.text


def exit_code_of(error_name: str) -> int:
    """Give the exit code of `isoctl` (verbs other than `run`) for a D-Bus error name."""
    known = IsodError.registry.get(error_name.removeprefix(PREFIX))
    return known.exit_code if known else 1


class NoSuchContainer(IsodError, template="no container {container!r} that you may use; `isoctl list` shows yours"):
    """The container does not exist, or the caller may not see it: both look the same."""


class NoSuchApplication(IsodError, template="no app {app!r} of yours; `isoctl ps` shows them"):
    """The app does not exist, or it belongs to somebody else: both look the same."""


class NotPermitted(IsodError, template="not permitted: {reason}"):
    """The caller can see the object, but policy or polkit refused."""


class NoAuthentication(IsodError, template="{action} needs a password, but nobody can be asked for it: {reason}"):
    """Policy has a question for polkit to ask, and it can't be put: no agent, no polkit, or a call that forbids it."""


class InvalidArgument(IsodError, template="{argument}: {reason}", exit_code=2):
    """Something in the call is malformed; names what and where."""


class Busy(IsodError, template="container {container!r} is in use: {reason}"):
    """Another user's app runs there, or the container is stopping."""


class LimitExceeded(IsodError, template="limit reached: {reason}"):
    """A bound of isod_contract.limits was hit; nothing was done."""


class StartFailed(IsodError, template="container {container!r}: start failed: {reason}"):
    """The container's unit failed, or inside it what an app needs, or the app's own unit."""


class StartTimeout(
    IsodError,
    template="container {container!r} was not ready after {timeout_sec} s: {reason}; "
    "systemd goes on starting it, see `systemctl status {unit}`",
):
    """The container's own bus did not answer before the policy's start_timeout_sec."""


class ContainerGone(IsodError, template="container {container!r} stopped: {reason}"):
    """The container stopped or was restarted while something was under way in it."""


class UnsafePath(IsodError, template="unsafe path {path!r} in container {container!r}: {reason}"):
    """A path inside the container is not what it must be; nothing was changed."""


class UnsafeFd(IsodError, template="{argument}: {reason}; pass a pipe, a stream socket or /dev/null"):
    """A file descriptor of a kind that may not enter a container."""


class IdentityMismatch(IsodError, template="container {container!r} is not what answered: {reason}"):
    """What answered under the container's name is not the container's own unit."""


class NoSession(IsodError, template="no live session of uid {uid}: {reason}"):
    """The caller has no registered session."""


class NoSecurityContext(IsodError, template="the compositor cannot isolate clients: {reason}"):
    """The compositor offers interfaces that a contained app must not reach."""


class NotGranted(IsodError, template="{resource} is not granted to container {container!r}: {reason}"):
    """Policy does not grant the resource."""


class NoSpace(IsodError, template="no space left for {what}: {reason}"):
    """A file system that isod needs is full; nothing was started."""


class Unsupported(IsodError, template="{what} is not possible here: {reason}"):
    """The container, the kernel or systemd cannot do this; names what would."""


class HostSilent(IsodError, template="the host's {service} does not answer: {reason}; try again, nothing was lost"):
    """A service of the host that isod needs is away, frozen or overloaded; what was asked for may be asked again."""


class Internal(IsodError, template="internal error; see `journalctl -u isod ISOCTL_INCIDENT={incident}`", exit_code=1):
    """A fault of isod; the text holds an id to find in the journal, never more."""
