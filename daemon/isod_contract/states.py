"""The states that containers and apps go through, as they appear on the bus."""

from enum import StrEnum


class ContainerState(StrEnum):
    """What `Container.State` says."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FAILED = "failed"


class AppState(StrEnum):
    """What `App.State` says, in the order of a launch."""

    AUTHORIZING = "authorizing"
    STARTING_CONTAINER = "starting-container"
    PREPARING = "preparing"
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"
    FAILED = "failed"


ENDED = frozenset({AppState.EXITED, AppState.FAILED})
