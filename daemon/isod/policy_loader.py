"""Loading /etc/isod: isod.toml and one file a container, keeping the last good one of each that is broken."""

import os
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from isod.policy import ContainerPolicy
from isod.policy_files import ROOT_ONLY, RefusedFile, read_trusted, trusted_directory
from isod.policy_text import TextProblem, line_of, parse, sentences
from isod.resources import kinds
from isod.settings import DaemonSettings
from isod_contract.names import is_container_name

DIRECTORY = Path("/etc/isod")
_SETTINGS = "isod.toml"
_CONTAINERS = "containers"
_SUFFIX = ".toml"
_CORRECT = "correct that file"
_KEPT = "what was read of it last stays in force"
_NOTHING = "nothing of it is in force"
_NO_POLICY = "no policy is in force, so no container is there for users"
_EXCLUSIVE = {"wrapper": "wrapper_shell", "wrapper_shell": "wrapper"}


@dataclass(frozen=True, slots=True)
class Policy:
    """All policy in force."""

    containers: Mapping[str, ContainerPolicy] = field(default_factory=lambda: MappingProxyType({}))
    settings: DaemonSettings = field(default_factory=DaemonSettings)
    # False: there never were good settings, so the ceiling is not known and nothing may be loaded under these.
    is_known: bool = True


_UNKNOWN = Policy(is_known=False)


@dataclass(frozen=True, slots=True)
class PolicyProblem:
    """One thing that is wrong with a policy file; line 0 is the file as such."""

    file: str
    line: int
    text: str
    # What isod goes by, since this is wrong.
    effect: str = ""
    way_out: str = _CORRECT

    def __str__(self) -> str:
        """Write it as compilers do."""
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


@dataclass(frozen=True, slots=True)
class LoadResult:
    """The policy to use now, and what was wrong on the way."""

    policy: Policy
    problems: tuple[PolicyProblem, ...]


def load_policy(directory: Path, previous: Policy | None = None, *, owners: Collection[int] = ROOT_ONLY) -> LoadResult:
    """Read a policy directory; never raises for what is in it.

    `previous` is the policy in force: what is broken now keeps its last good form, what is deleted is gone.
    Without a last good isod.toml a broken one leaves no container, since its ceiling may be what protects them.
    `owners` are the uids that may own files.
    """
    return _Loader(directory, previous, owners).load()


class _Loader:
    """One run of load_policy."""

    def __init__(self, directory: Path, previous: Policy | None, owners: Collection[int]) -> None:
        self._directory = directory
        self._previous = previous
        self._owners = owners
        self._problems: list[PolicyProblem] = []

    def load(self) -> LoadResult:
        policy = self._load_all()
        return LoadResult(policy, tuple(self._problems))

    def _load_all(self) -> Policy:
        try:
            with trusted_directory(self._directory, self._owners) as base_fd:
                settings = self._load_settings(base_fd)
                if settings is None:
                    return _UNKNOWN
                return Policy(MappingProxyType(self._load_containers(base_fd, settings)), settings)
        except FileNotFoundError:
            self._refuse(
                *(self._directory, 0, "no such directory"),
                effect=_NO_POLICY, way_out="`systemd-tmpfiles --create isod.conf` as root makes it",
            )  # fmt: skip
            return _UNKNOWN
        except RefusedFile as error:
            self._refuse(self._directory, 0, str(error))
            return self._previous or _UNKNOWN

    def _load_settings(self, base_fd: int) -> DaemonSettings | None:
        """Give the settings; None where they are broken and there are no last good ones."""
        path = self._directory / _SETTINGS
        last_good = self._previous.settings if self._previous and self._previous.is_known else None
        try:
            text, raw = parse(read_trusted(_SETTINGS, base_fd, self._owners))
        except FileNotFoundError:
            return DaemonSettings()
        except RefusedFile as error:
            self._refuse(path, 0, str(error))
            return last_good
        except TextProblem as error:
            self._refuse(path, error.line, str(error))
            return last_good
        good = True
        defaults = raw.get("defaults", {})
        if isinstance(defaults, dict):
            if "unit" in defaults:
                self._refuse(path, line_of(text, ("defaults", "unit")), "unit: belongs in a container's own file")
                good = False
            good &= self._validate(path, text, defaults, ("defaults",)) is not None
        try:
            settings = DaemonSettings.model_validate(raw)
        except ValidationError as error:
            for location, sentence in sentences(error, DaemonSettings):
                self._refuse(path, line_of(text, location), sentence)
            return last_good
        return settings if good else last_good

    def _load_containers(self, base_fd: int, settings: DaemonSettings) -> dict[str, ContainerPolicy]:
        path = self._directory / _CONTAINERS
        last_good = self._last_good(settings)
        try:
            with trusted_directory(_CONTAINERS, self._owners, base_fd) as directory_fd:
                loaded = {
                    name: self._load_container(path / f"{name}{_SUFFIX}", directory_fd, settings)
                    for name in self._container_names(path, directory_fd)
                }
        except FileNotFoundError:
            return {}
        except RefusedFile as error:
            self._refuse(path, 0, str(error))
            return last_good
        chosen = {name: policy or last_good.get(name) for name, policy in loaded.items()}
        return {name: policy for name, policy in chosen.items() if policy is not None}

    def _last_good(self, settings: DaemonSettings) -> dict[str, ContainerPolicy]:
        """Give the containers in force, under the ceiling that holds from now on."""
        before = self._previous.containers if self._previous else {}
        return {name: policy.capped(settings.never.forbidden()) for name, policy in before.items()}

    def _container_names(self, path: Path, directory_fd: int) -> list[str]:
        names = []
        untrusted_files = sorted(os.listdir(directory_fd))
        for untrusted_file in untrusted_files:
            # Editors leave .blog.toml.swp, blog.toml~ and the like beside a file.
            if untrusted_file.startswith("."):
                continue
            if not untrusted_file.endswith(_SUFFIX):
                self._tell_unread(path, untrusted_file, untrusted_files)
                continue
            untrusted_name = untrusted_file.removesuffix(_SUFFIX)
            if is_container_name(untrusted_name):
                names.append(untrusted_name)
            else:
                text = "the file's name is not that of a container: letters and digits, with - and . between them"
                self._refuse(path / untrusted_file, 0, text, effect=_NOTHING, way_out="rename it")
        return names

    def _tell_unread(self, path: Path, untrusted_file: str, untrusted_files: Collection[str]) -> None:
        """Name a file that was meant for policy, for all that its name tells, where no file of the right name is."""
        stem = re.split(r"[.~]", untrusted_file, maxsplit=1)[0]
        if stem != "README" and is_container_name(stem) and f"{stem}{_SUFFIX}" not in untrusted_files:
            text = f"the name does not end with {_SUFFIX}, so nobody reads it"
            self._refuse(path / untrusted_file, 0, text, effect=_NOTHING, way_out=f"rename it to {stem}{_SUFFIX}")

    def _load_container(self, path: Path, directory_fd: int, settings: DaemonSettings) -> ContainerPolicy | None:
        """Give the policy of one file, None where it is broken."""
        try:
            text, own = parse(read_trusted(path.name, directory_fd, self._owners))
        except FileNotFoundError:
            # Deleted since it was listed.
            return None
        except RefusedFile as error:
            self._refuse(path, 0, str(error))
            return None
        except TextProblem as error:
            self._refuse(path, error.line, str(error))
            return None
        asked = self._validate(path, text, _merged(settings.defaults, own))
        if asked is None:
            return None
        policy = asked.capped(settings.never.forbidden())
        own_grants = own.get("grants", {})
        for key in sorted(policy.never & own_grants.keys()):
            level = kinds()[key].text_of(policy.grants.value(key))
            sentence = f"{key}: forbidden by [never] of {_SETTINGS}, so it is {level!r}"
            self._refuse(path, line_of(text, ("grants", key)), sentence, effect="all else in it is in force")
        return policy

    def _validate(
        self, path: Path, text: str, raw: dict[str, Any], prefix: tuple[str, ...] = ()
    ) -> ContainerPolicy | None:
        try:
            return ContainerPolicy.model_validate(raw)
        except ValidationError as error:
            for location, sentence in sentences(error, ContainerPolicy):
                self._refuse(path, line_of(text, (*prefix, *location)), sentence)
            return None

    def _refuse(self, path: Path, line: int, text: str, *, effect: str = "", way_out: str = _CORRECT) -> None:
        if not effect:
            effect = self._effect(path)
        problem = PolicyProblem(_printable(str(path)), line, _printable(text), effect, _printable(way_out))
        self._problems.append(problem)

    def _effect(self, path: Path) -> str:
        """Say what holds in the place of a file that is refused."""
        before = self._previous if self._previous and self._previous.is_known else None
        if path.parent != self._directory / _CONTAINERS:
            return _KEPT if before else _NO_POLICY
        return _KEPT if before and path.name.removesuffix(_SUFFIX) in before.containers else _NOTHING


def _merged(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a container's own keys over the defaults, tables key by key."""
    merged = {key: value for key, value in defaults.items() if _EXCLUSIVE.get(key) not in own}
    for key, value in own.items():
        below = merged.get(key)
        merged[key] = {**below, **value} if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _printable(text: str) -> str:
    """Keep terminals safe from what stands in a file or its name."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def check(directory: Path = DIRECTORY) -> int:
    """Load a directory as isod would and write what is wrong to stderr, one line each; gives the exit code.

    Files may be the caller's own too, so that a build or an ordinary user can check a draft.
    """
    result = load_policy(directory, owners=ROOT_ONLY | {os.geteuid()})
    for problem in result.problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if result.problems else 0
