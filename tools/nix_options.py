"""The policy's keys as options of the NixOS module: nix/policy-options.nix, from the same models as isod.toml(5)."""

import re
from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from isod.policy import ContainerPolicy
from isod.resources import Resource, kinds
from isod.settings import Limits

_HEAD = """\
# Made by tools/generate_nix.py from the models of isod's policy.
#
# An option that is not set is not written, so that [defaults] of isod.toml and isod's own default hold.
{ lib }:
let
  inherit (lib) types;
  option =
    type: default: description:
    lib.mkOption {
      type = types.nullOr type;
      default = null;
      defaultText = lib.literalMD "not set; isod takes ${default}";
      inherit description;
    };
in
"""


def policy_options() -> str:
    """Give the text of nix/policy-options.nix."""
    keys = {name: field for name, field in ContainerPolicy.model_fields.items() if name != "grants"}
    return "\n".join(
        [
            _HEAD + "rec {",
            "  # Keys of /etc/isod/containers/NAME.toml.",
            "  container = {",
            *(f"    {name} = {_option(name, field)};" for name, field in keys.items()),
            "    inherit grants;",
            "  };",
            "",
            "  grants = {",
            *(f"    {key} = {_grant(kind)};" for key, kind in kinds().items()),
            "  };",
            "",
            "  # What isod grants where nothing says otherwise.",
            "  grantDefaults = {",
            *(f"    {key} = {_text(kind.default)};" for key, kind in kinds().items()),
            "  };",
            "",
            "  # Levels from the least to the most.",
            "  grantLevels = {",
            *(f"    {key} = {_list(kind.levels)};" for key, kind in kinds().items()),
            "  };",
            "",
            "  # [limits] of isod.toml.",
            "  limits = {",
            *(f"    {name} = {_option(name, field)};" for name, field in Limits.model_fields.items()),
            "  };",
            "",
            "  # [never] of isod.toml.",
            "  never = {",
            *(f"    {key} = {_never(kind)};" for key, kind in kinds().items() if len(kind.levels) > 1),
            "  };",
            "}",
            "",
        ]
    )


def _option(name: str, field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    return f"option {_type(name, field)} {_text(_default(default))} {_text(field.description or '')}"


def _type(name: str, field: FieldInfo) -> str:
    annotation = _without_none(field.annotation)
    if annotation is bool:
        return "types.bool"
    if annotation is int:
        low = next(item.ge for item in field.metadata if isinstance(item, Ge))
        high = next(item.le for item in field.metadata if isinstance(item, Le))
        return f"(types.ints.between {low} {high})"
    if get_origin(annotation) is Literal:
        return f"(types.enum {_list(get_args(annotation))})"
    origin = get_origin(annotation) or annotation
    if origin is tuple:
        return "(types.listOf types.str)"
    if origin is dict:
        return "(types.attrsOf types.str)"
    if origin is str:
        return "types.str"
    raise TypeError(f"no type of Nix for {name}: {annotation}")


def _without_none(annotation: Any) -> Any:
    """Give what remains of `X | None`, and of Annotated around it."""
    arguments = [item for item in get_args(annotation) if item is not type(None)]
    if type(None) in get_args(annotation) and len(arguments) == 1:
        annotation = arguments[0]
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    return annotation


def _grant(kind: type[Resource]) -> str:
    level = f"types.enum {_list(level for level in kind.levels if _is_taken(kind, level))}"
    takes_list = "validate" in vars(kind)
    nix_type = f"(types.either ({level}) (types.listOf types.str))" if takes_list else f"({level})"
    return f"option {nix_type} {_text(_default(kind.default))} {_text(kind.doc)}"


def _is_taken(kind: type[Resource], level: str) -> bool:
    try:
        kind.validate(level)
    except ValueError:
        return False
    return True


def _never(kind: type[Resource]) -> str:
    text = f"Levels of {kind.key} that no container gets."
    return f'option (types.listOf (types.enum {_list(kind.levels[1:])})) "none" {_text(text)}'


def _default(value: Any) -> str:
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case int():
            return f"`{value}`"
        case str():
            return f'`"{value}"`'
    return "none"


def _list(items: Iterable[str]) -> str:
    return f"[ {' '.join(map(_text, items))} ]"


def _text(text: str) -> str:
    """Write a string of Nix."""
    escaped = re.sub(r'(["\\]|\$(?=\{))', r"\\\1", " ".join(text.split()))
    return f'"{escaped}"'
