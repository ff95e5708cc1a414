"""docs/nixos-options.md: the options of the NixOS module, as Nix itself knows them."""

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

_HEAD = """\
<!-- Made by tools/generate_nix.py. -->
# Options of the NixOS module

[nixos.md](nixos.md) says how to use them.
"""
_CHAPTERS = {
    "betterContainers": "Environments",
    "daemon": "Daemon, client and policy",
    "inside": "Inside an environment",
}


class NixMissing(Exception):
    """Nix is not there, or refuses; the text says which."""


def reference() -> str:
    """Give the text of docs/nixos-options.md. Raises NixMissing."""
    chapters = _evaluated()
    return "".join(
        [_HEAD, *(_chapter(title, chapters[key]) for key, title in _CHAPTERS.items())],
    )


def _evaluated() -> dict[str, list[dict[str, Any]]]:
    argv = ["nix-instantiate", "--eval", "--strict", "--json", "--readonly-mode", "--store", "dummy://"]
    try:
        done = subprocess.run(
            [*argv, str(ROOT / "nix/tests/reference.nix")], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise NixMissing("nix-instantiate is missing: install nix-bin (tools/bootstrap.sh does)") from None
    if done.returncode:
        raise NixMissing(done.stderr)
    found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    return found


def _chapter(title: str, options: Iterable[dict[str, Any]]) -> str:
    return f"\n## {title}\n" + "".join(map(_option, options))


def _option(option: dict[str, Any]) -> str:
    lines = [f"\n### `{option['name']}`\n", " ".join(option["description"].split())]
    lines.append(f"\n- type: {option['type']}")
    if option["default"] is not None:
        lines.append(f"- default: {_shown(option['default'])}")
    if option["example"] is not None:
        lines.append(f"- example: {_shown(option['example'])}")
    return "\n".join(lines) + "\n"


def _shown(item: dict[str, Any]) -> str:
    """Write a value as Nix; a text is an expression or a sentence already."""
    if "value" in item:
        return f"`{_nix(item['value'])}`"
    text: str = " ".join(item["text"].split())
    is_sentence = "`" in text or (" " in text and not any(mark in text for mark in "[{./"))
    return text if is_sentence else f"`{text}`"


def _nix(value: Any) -> str:
    match value:
        case list():
            return f"[ {' '.join(map(_nix, value))} ]" if value else "[ ]"
        case dict():
            return f"{{ {' '.join(f'{key} = {_nix(item)};' for key, item in value.items())} }}" if value else "{ }"
    return json.dumps(value, ensure_ascii=False)
