"""What /etc/isod/isod.toml may hold: defaults for containers, limits per user, and the ceiling."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, create_model

from isod.policy import StrictModel
from isod.resources import kinds
from isod.resources.base import Resource, quoted_choices
from isod_contract import limits


class Limits(StrictModel):
    """What one user may occupy of isod at once. uid 0 is held to the largest values only."""

    launches_starting: int = Field(
        limits.LAUNCHES_STARTING_PER_UID,
        ge=1,
        le=limits.LAUNCHES_STARTING_MOST,
        description="Launches that are being started at once.",
    )
    launches_queued: int = Field(
        limits.LAUNCHES_QUEUED_PER_UID,
        ge=0,
        le=limits.LAUNCHES_QUEUED_MOST,
        description="Launches that wait for their turn.",
    )
    apps: int = Field(limits.APPS_PER_UID, ge=1, le=limits.APPS_MOST, description="Apps that run or wait.")
    subscriptions: int = Field(
        limits.SUBSCRIPTIONS_PER_UID, ge=1, le=limits.SUBSCRIPTIONS_MOST, description="Subscribers to signals."
    )
    prompts: int = Field(
        limits.PROMPTS_PER_UID, ge=1, le=limits.PROMPTS_MOST, description="Password prompts that are open."
    )
    logs: int = Field(
        limits.LOGS_PER_UID, ge=1, le=limits.LOGS_MOST, description="Logs that are open in one container."
    )

    def of(self, uid: int) -> "Limits":
        """Give the limits that hold for a uid."""
        return _OF_ROOT if uid == 0 else self


_OF_ROOT = Limits(
    launches_starting=limits.LAUNCHES_STARTING_MOST,
    launches_queued=limits.LAUNCHES_QUEUED_MOST,
    apps=limits.APPS_MOST,
    subscriptions=limits.SUBSCRIPTIONS_MOST,
    prompts=limits.PROMPTS_MOST,
    logs=limits.LOGS_MOST,
)


def _forbidden(kind: type[Resource]) -> Any:
    """Make the check of one kind's list of forbidden levels."""
    allowed = kind.levels[1:]

    def check(untrusted_value: object) -> tuple[str, ...]:
        items = untrusted_value if isinstance(untrusted_value, (list, tuple)) else (untrusted_value,)
        for item in items:
            if item not in allowed:
                raise ValueError(f"must list {quoted_choices(allowed)}" if allowed else "has no level to forbid")
        return tuple(items)

    return Annotated[tuple[str, ...], BeforeValidator(check)]


class NeverBase(StrictModel):
    """Levels that no container gets, whatever its own file says."""

    def forbidden(self) -> dict[str, tuple[str, ...]]:
        """Give the forbidden levels by kind."""
        return {key: getattr(self, key) for key in kinds()}


if TYPE_CHECKING:
    Never = NeverBase
else:
    Never = create_model(
        "Never",
        __base__=NeverBase,
        __doc__=NeverBase.__doc__,
        **{
            key: (_forbidden(kind), Field(default=(), description=f"Levels of {key} that no container gets."))
            for key, kind in kinds().items()
        },
    )


class DaemonSettings(StrictModel):
    """The settings of isod itself. Every description is the text of isod.toml(5)."""

    defaults: dict[str, Any] = Field(
        default_factory=dict,
        description="The keys of a container's file, except unit, for every container whose own file does not say.",
    )
    limits: Limits = Field(default_factory=Limits, description="Limits per user.")
    never: Never = Field(
        default_factory=Never, description='A ceiling on grants, as in x11 = ["host"]: forbidden levels by kind.'
    )
