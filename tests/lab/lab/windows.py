"""Windows as sway's tree tells them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lab.screenshot import Box


@dataclass(frozen=True)
class Window:
    """One window; `pid` is of the client that showed it, `box` is where its contents are, in logical pixels."""

    id: int
    title: str
    app_id: str
    pid: int
    box: Box
    x11: bool
    focused: bool
    visible: bool


def windows_of(tree: dict[str, Any]) -> list[Window]:
    """All windows of a tree, in its order."""
    return [_window(node) for node in _nodes(tree) if node.get("pid")]


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in (*node.get("nodes", ()), *node.get("floating_nodes", ())):
        yield from _nodes(child)


def _window(node: dict[str, Any]) -> Window:
    outer, inner = node["rect"], node["window_rect"]
    return Window(
        id=node["id"],
        title=node["name"] or "",
        app_id=node.get("app_id") or node.get("window_properties", {}).get("class", ""),
        pid=node["pid"],
        box=Box(outer["x"] + inner["x"], outer["y"] + inner["y"], inner["width"], inner["height"]),
        x11=node.get("shell") == "xwayland",
        focused=node["focused"],
        visible=node.get("visible", False),
    )
