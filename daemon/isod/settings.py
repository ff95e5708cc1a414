"""What /etc/isod/isod.toml may hold: defaults for containers, limits per user, and the ceiling."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, create_model

from isod.policy import StrictModel
from isod.resources import kinds
from isod.resources.base import Resource, quoted_choices
from isod_contract import limits


def _bound(key: str) -> Any:
    row = limits.PER_UID[key]
    return Field(row.default, ge=row.least, le=row.most, description=row.doc)


class Limits(StrictModel):
    """What one user may occupy of isod at once. uid 0 is held to the largest values only."""

    calls_burst: int = _bound("calls_burst")
    calls_per_sec: int = _bound("calls_per_sec")
    calls_open: int = _bound("calls_open")
    launches_starting: int = _bound("launches_starting")
    launches_queued: int = _bound("launches_queued")
    apps: int = _bound("apps")
    subscriptions: int = _bound("subscriptions")
    prompts: int = _bound("prompts")
    logs: int = _bound("logs")

    def of(self, uid: int) -> "Limits":
        """Give the limits that hold for a uid."""
        return _OF_ROOT if uid == 0 else self


_OF_ROOT = Limits(**{key: row.most for key, row in limits.PER_UID.items()})


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
