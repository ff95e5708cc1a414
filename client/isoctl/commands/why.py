"""`isoctl why`: whether something is allowed, and by which rule."""

import os
import pwd

from isoctl import cli, isod, render
from isoctl.connect import connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DONE = {
    "run": "run apps in {}",
    "start": "start {}",
    "stop": "stop {}",
    "restart": "restart {}",
    "grant": "grant devices of the host to {}",
    "revoke": "take back what was granted to {}",
}
# By what isod says decided it (docs/api.md, Explain).
_RULES = {
    "uid 0": "root may do everything",
    "users": "their name stands in `users` of its policy",
    "ask": "their name stands in `ask` of its policy",
    "root": "`[grants] root` of its policy is about other accounts",
    "busy": "an app of another user runs in it",
    "grant": "that is so for whatever is granted at run time",
    "own": "they granted it themselves",
}
_ASKED = {
    "org.isoctl1.run": "once they have typed their password",
    "": "once polkit's question is answered",
}
_BY_ADMINISTRATOR = "once an administrator has agreed"


def execute(request: cli.Request) -> int:
    """Print the decision; gives 1 if it is a refusal."""
    action = request.operands[1] if len(request.operands) > 1 else "run"
    options = {"user": ("s", request.options["user"])} if "user" in request.options else {}
    decision = isod.manager(connect(), "Explain", "ssa{sv}", request.operands[0], action, options)
    if "json" in request.options:
        render.as_json(decision)
    else:
        print(render.clean(_sentence(decision, action, request.operands[0], str(request.options.get("user", "")))))
    return 1 if decision["outcome"] == "refused" else 0


def _sentence(decision: "dict[str, Any]", action: str, container: str, account: str) -> str:
    """Say who may do what, and why."""
    done = _DONE[action].format(container) + (f" as {account}" if account else "")
    rule = str(decision["rule"])
    kind, _, group = rule.partition(":")
    why = (
        f"they are in the group {group}, which stands in `groups` of its policy"
        if kind == "groups"
        else _RULES.get(rule)
    )
    if decision["outcome"] == "refused":
        return f"{_name()} may not {done}: {decision.get('reason') or why or rule}"
    condition = ""
    if decision["outcome"] == "asked":
        condition = ", " + _ASKED.get(str(decision.get("action", "")), _BY_ADMINISTRATOR)
    return f"{_name()} may {done}{condition}: {why or rule}"


def _name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
