"""A case: modules of a host, and what the module must make of them or say against them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nixeval import NEWEST, REPOSITORY, EvaluationFailed, evaluate

ALICE = 'users.users.alice = { isNormalUser = true; uid = 1000; }; betterContainers.base.userName = "alice"; '
_STORE = re.compile(r"/nix/store/[0-9a-z]{32}-")


@dataclass(frozen=True)
class Case:
    """Modules of a host, a view of it (`h`: everything, `c`: its configuration), and what is expected.

    `value` is compared; `error` and `warning` are parts of a text, all of which must be there.
    """

    name: str
    modules: str
    view: str = "h.toplevel"
    value: Any = None
    error: tuple[str, ...] = ()
    warning: tuple[str, ...] = ()
    silent: bool = False


def plain(value: Any) -> Any:
    """Leave hashes out of store paths, since they follow from texts that are compared anyway."""
    match value:
        case str():
            return _STORE.sub("/nix/store/HASH-", value)
        case list():
            return [plain(item) for item in value]
        case dict():
            return {key: plain(item) for key, item in value.items()}
    return value


def verdict(case: Case, nixpkgs: str | None, tree: Path = REPOSITORY, release: str = NEWEST) -> str | None:
    """None if the module does as the case expects, else what it did."""
    view = "h.warnings" if case.warning or case.silent else case.view
    expression = (
        f"with t; let c = (host [ {case.modules} ]).config; h = look.host c; "
        # Whatever is looked at: all of the host is evaluated, since laziness hides mistakes.
        f"in builtins.seq c.system.build.toplevel (builtins.deepSeq h ({view}))"
    )
    try:
        got = plain(evaluate(expression, nixpkgs=nixpkgs, tree=tree, release=release))
    except EvaluationFailed as failure:
        text = str(failure)
        if case.error and all(part in text for part in case.error):
            return None
        return f"failed: {text[-1500:]}"
    if case.error:
        return f"no error; value: {got}"
    if case.silent:
        return None if got == [] else f"warned: {got}"
    if case.warning:
        said = [text for text in got if all(part in text for part in case.warning)]
        return None if len(said) == 1 else f"warned: {got}"
    return None if got == case.value else f"value: {got}"


def one(container: str = "", host: str = "", base: str = "") -> str:
    """A host with one environment."""
    return f"({{ pkgs, lib, ... }}: {{ {ALICE} {base} betterContainers.containers.blog = {{ {container} }}; {host} }})"


GUEST = "h.containers.blog.guest"
HM = "betterContainers.homeManager.module = homeManager; "
