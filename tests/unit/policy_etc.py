"""A policy directory that a test fills."""

import os
from pathlib import Path

from isod.policy_loader import LoadResult, Policy, load_policy

OWNERS = frozenset({0, os.geteuid()})


class Etc:
    """A policy directory that a test fills."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.containers = path / "containers"
        path.mkdir(mode=0o755)
        self.containers.mkdir(mode=0o755)

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.path / "isod.toml" if name == "isod" else self.containers / f"{name}.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(0o644)
        return path

    def load(self, previous: Policy | None = None) -> LoadResult:
        return load_policy(self.path, previous, owners=OWNERS)

    def problems(self) -> list[str]:
        return [str(problem).removeprefix(f"{self.path}/") for problem in self.load().problems]
