"""The tests of the module notice when it is broken: a wrong name, a wrong type, a check or a line that is gone."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import pytest

import cases_open
import cases_refused
from case import one, plain, verdict
from cases import CASES
from nixeval import NIX, RELEASES, REPOSITORY, EvaluationFailed, evaluate

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Mutation:
    """One text of one file put in the place of another."""

    what: str
    file: str
    old: str
    new: str


MUTATIONS = (
    Mutation("policy files become symlinks", "isod.nix", 'mode = "0644";', 'mode = "symlink";'),
    Mutation("an option's name is wrong", "isod.nix", "services.dbus.packages =", "services.dbus.package ="),
    Mutation("the policy is not checked", "isod.nix", "system.checks = [ checked ];", "system.checks = [ ];"),
    Mutation("nothing starts the daemon", "isod.nix", 'wantedBy = [ "multi-user.target" ];', "wantedBy = [ ];"),
    Mutation("isod's directory is not bound", "generate.nix", "staticBinds name\n", "[ ]\n"),
    Mutation("a type is wrong", "generate.nix", '"${toString container.timeoutStartSec}s"', "container.timeoutStartSec"),
    Mutation("shares are not mapped", "generate.nix", "${share.mountPoint}:idmap", "${share.mountPoint}"),
    Mutation("the daemon's socket is masked the wrong way round", "generate.nix", "(!container.nixDaemon)", "container.nixDaemon"),
    Mutation("a share is writable by itself", "better-containers.nix", "default = true;\n          description = ''\n            Whether the container can only read", "default = false;\n          description = ''\n            Whether the container can only read"),
    Mutation("groups can be forced", "container.nix", "lib.mkOverride 10 [ ]", "lib.mkDefault [ ]"),
    Mutation("members of groups are not looked at", "container.nix", "lib.elem user group.members", "false"),
    Mutation("drivers of the vendor are left out", "container.nix", "package package32 extraPackages", "package package32"),
    Mutation("trust by a group is not seen", "safety.nix", 'map (group: "@${group}") (groupsOf user)', "[ ]"),
    Mutation("an assertion is turned round", "safety.nix", "(check (!container.hideStore)", "(check container.hideStore"),
    Mutation("a character that breaks is let through", "rules.nix", '    "%"\n', ""),
    Mutation("the ceiling is not looked at", "exposure.nix", "forbidden != null && lib.elem level forbidden", "false"),
    Mutation("a namespace of processes is unshared", "traits/fhs.nix", "unsharePid = false;", "unsharePid = true;"),
    Mutation("Home Manager builds at the first start", "guest-home-manager.nix", "useUserPackages = lib.mkDefault true", "useUserPackages = lib.mkDefault false"),
    Mutation("an option of a later release is set (R-30)", "generate.nix", 'lib.optionalAttrs (supports "copyResolvConf")', "lib.optionalAttrs true"),
    Mutation("NetworkManager takes the links (R-34)", "generate.nix", '[ "interface-name:ve-*" ]', "[ ]"),
    Mutation("directories above shares stay root's (R-39)", "container.nix", "shareParents ++", "[ ] ++"),
    Mutation("a resolver at the loopback passes (R-37)", "rules.nix", "|| config.networking.resolvconf.useLocalResolver", "|| false"),
    Mutation("quotes are lost on the way to TOML", "toml.nix", "(builtins.toJSON text)", 'text'),
)  # fmt: skip


# The cases that are about a file are tried first; all count.
_ABOUT = {
    "container.nix": cases_refused.USERS,
    "exposure.nix": cases_open.EXPOSURES,
    "rules.nix": cases_refused.NAMES_AND_PATHS,
    "safety.nix": cases_refused.USERS,
}


def _is_caught(tree: Path, file: str) -> bool:
    """Look at the example first, which is most of it, and then at the cases until one objects."""
    kept = json.loads((GOLDEN / "rest.json").read_text())
    policy = {path.name: path.read_text() for path in (GOLDEN / "etc/isod/containers").iterdir()}
    try:
        example = plain(evaluate("t.look.host t.example.config", tree=tree))
    except EvaluationFailed:
        return True
    try:
        evaluate(f"(t.host [ {one()} ]).config.system.build.toplevel.name", tree=tree, release=RELEASES[0])
    except EvaluationFailed:
        return True
    found = {name.rpartition("/")[2]: file["text"] for name, file in example["policy"].items() if "containers/" in name}
    if {key: example[key] for key in kept} != kept or found != policy:
        return True
    pool = ThreadPoolExecutor(4)
    try:
        ordered = (*_ABOUT.get(file, ()), *CASES)
        asked = [pool.submit(verdict, case, None, tree) for case in ordered]
        return any(answer.result() is not None for answer in as_completed(asked))
    finally:
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[mutation.what for mutation in MUTATIONS])
def test_it_is_noticed(mutation: Mutation, tmp_path: Path) -> None:
    shutil.copytree(NIX, tmp_path / "nix")
    shutil.copytree(REPOSITORY / "systemd-units", tmp_path / "systemd-units")
    shutil.copy(REPOSITORY / "default.nix", tmp_path)
    path = tmp_path / "nix" / mutation.file
    text = path.read_text()
    assert text.count(mutation.old) == 1, "the module has changed: mutate another line"
    path.write_text(text.replace(mutation.old, mutation.new))
    assert _is_caught(tmp_path, mutation.file)
