"""The module on each supported release: an option that a release does not have is not set there, and asked for is told."""

import re

import pytest

from case import Case, one, verdict
from nixeval import NEWEST, NIX, RELEASES, REPOSITORY, EvaluationFailed, evaluate

# Options of `containers.<name>`, with the first release that has them; all others that we set are in all releases.
FIRST = {"privateUsers": "25.05", "copyResolvConf": "25.11"}


def options_of(release: str) -> set[str]:
    """The options of a container on the double."""
    found = evaluate(
        "builtins.attrNames ((t.system { } [ ]).options.containers.type.getSubOptions [ ])", release=release
    )
    return {name for name in found if name != "_module"}


@pytest.mark.parametrize("release", [*RELEASES, NEWEST])
def test_the_quick_start_evaluates(release: str) -> None:
    """R-30: `The option containers.blog.copyResolvConf does not exist`, on 24.11 and 25.05."""
    text = (NIX / "examples/quickstart.nix").read_text().replace("./isoctl", str(REPOSITORY))
    host = "{ users.users.alice.isNormalUser = true; }"
    found = evaluate(
        f"let h = t.look.host (t.system {{ }} [ ({text}) {host} ]).config; in {{ inherit (h) toplevel; "
        "inherit (h.containers.blog) copyResolvConf privateUsers; }",
        release=release,
    )
    assert found["toplevel"] == "nixos-system-nixos"
    assert (found["copyResolvConf"] is None) == (release < FIRST["copyResolvConf"])


def test_the_doubles_differ_as_the_releases_do() -> None:
    newest = options_of(NEWEST)
    for release in RELEASES:
        assert newest - options_of(release) == {name for name, first in FIRST.items() if release < first}


# Containers that between them set every option that the module can set.
KINDS = {
    **{
        f"network {network}": f'network = "{network}"; shares."/srv/a" = {{ }}; syscallFilter = [ "~bpf" ];'
        for network in ("none", "private", "host")
    },
    "a daemon and a device": 'nixDaemon = true; grants.gpu = "render"; autoStart = true;',
}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(("kind", "text"), KINDS.items(), ids=KINDS)
def test_each_option_that_is_set_is_guarded_by_the_release_that_has_it(release: str, kind: str, text: str) -> None:
    """R-30, as a kind."""
    case = Case(kind, one(text), "h.toplevel", "nixos-system-nixos")
    assert verdict(case, None, release=release) is None


@pytest.mark.parametrize("release", [release for release in RELEASES if release < FIRST["privateUsers"]])
def test_what_a_release_can_not_do_is_refused_in_a_sentence(release: str) -> None:
    """R-30, as a kind: not `The option ... does not exist`."""
    case = Case("users", one('privateUsers = "pick";'), error=("blog.privateUsers needs NixOS 25.05", "leave it out"))
    assert verdict(case, None, release=release) is None
    with pytest.raises(EvaluationFailed, match="needs NixOS"):
        evaluate(f"(t.host [ {one('privateUsers = 65536;')} ]).config.system.build.toplevel.name", release=release)


def test_no_option_of_containers_is_set_that_the_oldest_release_lacks_without_a_guard() -> None:
    """What generate.nix writes is known to the oldest release, or asked for by `supports`."""
    source = (NIX / "generate.nix").read_text()
    oldest = options_of(RELEASES[0])
    body = source[source.index("  networkOf =") : source.index("      config.imports = [")]
    names = {*re.findall(r"^ +(?:inherit \(container\) )?(\w+)(?: =|;)", body, re.MULTILINE)} & options_of(NEWEST)
    assert names > {"privateNetwork", "bindMounts", "extraFlags"}
    assert {name for name in names - oldest if f'supports "{name}"' not in source} == set()
