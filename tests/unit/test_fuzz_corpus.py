"""Seeds of the fuzzer and all that it ever found, each against its target."""

from pathlib import Path

import pytest

from targets import TARGETS

CORPUS = Path(__file__).resolve().parents[1] / "fuzz/corpus"
INPUTS = sorted(path for name in TARGETS for path in (CORPUS / name).iterdir())


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_the_fuzzer_was_given_or_found(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


def test_every_target_has_seeds() -> None:
    assert {path.parent.name for path in INPUTS} == TARGETS.keys()
