"""Every question that isod may put to polkit, declared once; the polkit policy file is generated from it."""

from typing import NamedTuple


class Action(NamedTuple):
    """One polkit action (polkit(8)): its id, who is asked, and the sentence shown to them."""

    id: str
    description: str
    message: str
    allow_active: str
    allow_inactive: str = "no"
    allow_any: str = "no"


RUN = Action(
    "org.isoctl1.run",
    "Run an application in a container",
    "Authentication is required to run an application in the container $(container)",
    "auth_self_keep",
)
MANAGE = Action(
    "org.isoctl1.manage",
    "Stop or restart a container in which another user's application runs, or reload the policy",
    "Authentication is required to manage the container $(container)",
    "auth_admin_keep",
)
GRANT = Action(
    "org.isoctl1.grant",
    "Grant a host resource to a running container",
    "Authentication is required to grant a resource to the container $(container)",
    "auth_admin_keep",
)
ROOT = Action(
    "org.isoctl1.root",
    "Run a command as root in a container",
    "Authentication is required to run a command as root in the container $(container)",
    "auth_admin",
)

ACTIONS = (RUN, MANAGE, GRANT, ROOT)
