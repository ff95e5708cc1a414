"""`isoctl why`: whether something is allowed, and by which rule."""

from isoctl import cli, isod, render


def execute(request: cli.Request) -> int:
    """Print the decision; gives 1 if it is a refusal."""
    action = request.operands[1] if len(request.operands) > 1 else "run"
    options = {"user": ("s", request.options["user"])} if "user" in request.options else {}
    decision = isod.manager(isod.connect(), "Explain", "ssa{sv}", request.operands[0], action, options)
    if "json" in request.options:
        render.as_json(decision)
    else:
        reason = f": {decision['reason']}" if decision.get("reason") else ""
        print(f"{action} {request.operands[0]}: {decision['outcome']} by {decision['rule']}{render.clean(reason)}")
    return 1 if decision["outcome"] == "refused" else 0
