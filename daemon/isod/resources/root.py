"""Running commands as the container's root, or as an account that is not the caller's."""

from isod.resources.base import Resource


class Root(Resource):
    """Other accounts inside the container, root above all."""

    key = "root"
    levels = ("none", "ask", "yes")
    default = "none"
    doc = (
        "Commands as root inside (`isoctl run root@NAME`), or as any account other than the caller's. ask: after an "
        "administrator's password, each time. yes: without a question. Root in a container without user namespacing "
        "is not confined by it."
    )
