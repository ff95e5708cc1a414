"""What policy says of one container: the keys of /etc/isod/containers/NAME.toml, checked."""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, PrivateAttr, create_model
from pydantic import model_validator as after_all

from isod.resources import GrantValue, kinds, owned_variables
from isod_contract import limits
from isod_contract.names import CARRIER_PREFIX, SHELLS_OWN_VARIABLES, is_account_name, is_unit_user_name

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
# systemd.unit(5), with `%u` for the caller's name; nothing else may be a specifier.
_UNIT = re.compile(r"(?:[A-Za-z0-9:_.@\\-]|%u){1,200}\.service")
_OWN_VARIABLES = {"XDG_RUNTIME_DIR": "isod", "DBUS_SESSION_BUS_ADDRESS": "isod"}


class StrictModel(BaseModel):
    """A frozen model that takes no unknown key and turns no type into another."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def host_account(name: str) -> str:
    """Check the name of a user or group of the host; raises ValueError."""
    if not is_account_name(name):
        way_out = 'a user with a name that can\'t stand here is admitted by a group, with `user = "..."`'
        raise ValueError(f"{name!r} is not the name of an account that isod takes; {way_out}")
    return name


def _inner_account(name: str) -> str:
    if name == "root":
        raise ValueError("an app never runs as root by default; see [grants] root")
    if not is_account_name(name):
        raise ValueError(f"{name!r} is not the name of an account (numbers are not taken)")
    return name


def _unit_name(name: str) -> str:
    full = name if name.endswith(".service") else f"{name}.service"
    if not _UNIT.fullmatch(full):
        raise ValueError(f"{name!r} is not the name of a service; of the specifiers only %u may stand in it")
    return full


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL can't stand in it")
    return text


def _command(argv: tuple[str, ...]) -> tuple[str, ...]:
    if not argv or not argv[0]:
        raise ValueError("the command is empty")
    return argv


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _variable(name: str) -> str:
    owner = _OWN_VARIABLES.get(name) or owned_variables().get(name)
    if name.startswith(CARRIER_PREFIX):
        owner = "isod"
    if owner:
        raise ValueError("set by isod alone" + ("" if owner == "isod" else f"; see [grants] {owner}"))
    if name in SHELLS_OWN_VARIABLES:
        raise ValueError("kept by the shell that starts commands")
    if not _VARIABLE.fullmatch(name):
        raise ValueError("not the name of a variable")
    return name


def _listed_variable(name: str) -> str:
    try:
        return _variable(name)
    except ValueError as error:
        raise ValueError(f"{name!r} is {error}") from None


def _value(text: str) -> str:
    if len(_no_nul(text).encode()) > limits.ENVIRONMENT_VALUE_BYTES_MAX:
        raise ValueError(f"longer than {limits.ENVIRONMENT_VALUE_BYTES_MAX} bytes")
    return text


# A TOML array arrives as a list: the one conversion that is wanted.
_Strings = Annotated[tuple[Annotated[str, AfterValidator(_no_nul)], ...], Field(strict=False)]
Accounts = Annotated[
    tuple[Annotated[str, AfterValidator(host_account)], ...], Field(strict=False), AfterValidator(_unique)
]
Command = Annotated[_Strings, AfterValidator(_command)]
Environment = Annotated[
    dict[Annotated[str, AfterValidator(_variable)], Annotated[str, AfterValidator(_value)]],
    Field(max_length=limits.ENVIRONMENT_ENTRIES_MAX),
]


Variables = Annotated[
    tuple[Annotated[str, AfterValidator(_listed_variable)], ...],
    Field(strict=False, max_length=limits.ENVIRONMENT_ENTRIES_MAX),
    AfterValidator(_unique),
]


Hints = Annotated[
    tuple[Annotated[str, AfterValidator(_listed_variable)], ...],
    Field(strict=False, max_length=limits.POLICY_HINTS_MAX),
    AfterValidator(_unique),
]


class GrantsBase(StrictModel):
    """The granted level of each kind of resource, by the kind's key."""

    def level(self, key: str) -> str:
        """Give the level of a kind; a narrowing list counts as the level that it narrows."""
        return kinds()[key].level_of(self.value(key))

    def value(self, key: str) -> GrantValue:
        """Give the grant as it was written: a level or a list."""
        value: GrantValue = getattr(self, key)
        return value

    def texts(self) -> dict[str, str]:
        """Give all grants as strings, by key, as `Container.Grants` shows them."""
        return {key: kind.text_of(self.value(key)) for key, kind in kinds().items()}


if TYPE_CHECKING:
    Grants = GrantsBase
else:
    Grants = create_model(
        "Grants",
        __base__=GrantsBase,
        __doc__=GrantsBase.__doc__,
        **{
            key: (
                Annotated[GrantValue, PlainValidator(kind.validate)],
                Field(default=kind.default, description=kind.doc),
            )
            for key, kind in kinds().items()
        },
    )


class ContainerPolicy(StrictModel):
    """Policy of one container. Every description is the text of isod.toml(5)."""

    users: Accounts = Field(
        (),
        description="Users of the host who may use the container without a question. They see and start it, run apps "
        "in it, and signal, stop and read the logs of their own apps. They stop and restart it while no other user's "
        "app runs.",
    )
    groups: Accounts = Field((), description="Groups of the host whose members may do the same.")
    ask: Accounts = Field(
        (),
        description="Users who may see it, and use it after they gave their own password (org.isoctl1.run). polkit "
        "remembers that for one process and five minutes, so each isoctl asks anew.",
    )
    user: Annotated[str, AfterValidator(_inner_account)] | None = Field(
        None, description="Account inside that apps run as. By default the one with the caller's own name."
    )
    shared_account: bool = Field(
        False,
        description="Must be true where `user` serves more than one user, since all of them can then read and signal "
        "each other's apps.",
    )
    unit: Annotated[str, AfterValidator(_unit_name)] | None = Field(
        None,
        description="The systemd service that is the container; %u stands for the caller's name: one instance a user. "
        "By default container@NAME.service if it or /etc/nixos-containers/NAME.conf exists, else "
        "systemd-nspawn@NAME.service.",
    )
    login_shell: bool = Field(
        True, description="Start apps through the account's login shell, so that its profile applies."
    )
    wrapper: Command | None = Field(
        None, description="Command and arguments put before each app's own, which follow as they are."
    )
    wrapper_shell: Command | None = Field(
        None,
        description="Command and arguments put before each app's own, which follow as one string quoted for a shell, "
        'as in ["enter-fhs", "-c"].',
    )
    menu: Command | None = Field(
        None,
        description="Command inside that shows a menu of applications. By default the host's launcher shows those "
        "of the container.",
    )
    start_timeout_sec: int = Field(
        90, ge=1, le=86400, description="Seconds after which a start that is not ready is reported as failed."
    )
    stop_timeout_sec: int = Field(
        10, ge=1, le=3600, description="Seconds that an app has, after it was asked to end, before it is killed."
    )
    idle_stop_sec: int = Field(
        0,
        ge=0,
        le=31_536_000,
        description="Seconds without an app of ours, a login session inside, and a program that is connected to a "
        "display, after which the container is stopped; 0: never. A window of an account's program keeps it running, "
        "whatever opened it; so none of those is closed, and nobody is warned. One of root's inside, on that account's "
        "display, may be closed.",
    )
    autostart: bool = Field(False, description="Start the container when one of its users logs in.")
    on_logout: Literal["keep", "stop"] = Field(
        "keep", description="What happens to the container when the last of its users leaves their desktop."
    )
    grants: Grants = Field(default_factory=Grants, description="What of the host is reachable inside.")
    environment: Environment = Field(
        default_factory=dict, description="Variables set in every app, over those of the login profile and the session."
    )

    hints: Hints = Field(
        (),
        description='More variables of the caller that apps get, as in ["http_proxy", "EDITOR"]; language, time zone, '
        "terminal, scale, and what leads to a display come anyway.",
    )
    unset: Variables = Field(
        (),
        description="Variables that apps do not get from isod, the session, or the login profile, as in "
        '["QT_QPA_PLATFORM"]; `isoctl run --env` sets them all the same.',
    )

    _never: frozenset[str] = PrivateAttr(default=frozenset())

    @after_all(mode="after")
    def _check_together(self) -> Self:
        if self.wrapper and self.wrapper_shell:
            raise ValueError("wrapper and wrapper_shell exclude each other")
        if both := sorted(self.environment.keys() & set(self.unset)):
            raise ValueError(f"environment sets {both[0]}, and unset takes it away: say one of them")
        several = bool(self.groups) or len({*self.users, *self.ask}) > 1
        if self.user and several and not self.shared_account:
            raise ValueError(f"user = {self.user!r} would serve several users: say shared_account = true if it may")
        return self

    @property
    def never(self) -> frozenset[str]:
        """The kinds whose grant the ceiling of isod.toml lowered."""
        return self._never

    def capped(self, ceiling: Mapping[str, Iterable[str]]) -> "ContainerPolicy":
        """Give this policy with every grant lowered to what the ceiling, forbidden levels by key, leaves of it."""
        values = {key: self.grants.value(key) for key in kinds()}
        lowered = {key: kind.lowered(values[key], ceiling.get(key, ())) for key, kind in kinds().items()}
        changed = frozenset(key for key in values if lowered[key] != values[key])
        if not changed:
            return self
        copy = self.model_copy(update={"grants": Grants(**lowered)})
        copy._never = changed  # noqa: SLF001 - our own class
        return copy

    def unit_for(self, user: str) -> str | None:
        """Give the unit for a caller's name, None where policy names none; raises ValueError for an unfit name."""
        if self.unit is None or "%u" not in self.unit:
            return self.unit
        if not is_unit_user_name(user):
            raise ValueError(f"the account name {user!r} can't be part of a unit's name; name a unit without %u")
        return self.unit.replace("%u", user)


def field_docs(model: type[BaseModel]) -> dict[str, tuple[Any, str]]:
    """Give default and description of each key, by name, for the manual."""
    return {
        name: (item.get_default(call_default_factory=True), item.description or "")
        for name, item in model.model_fields.items()
    }
