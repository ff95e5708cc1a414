"""The reference of all options is what Nix knows, and says something of each."""

import subprocess
import sys

from nix_reference import reference
from nixeval import REPOSITORY, evaluate


def test_it_is_up_to_date() -> None:
    """The same as `make lint` does: a changed option without `make generate` is told."""
    done = subprocess.run(
        [sys.executable, REPOSITORY / "tools/generate_nix.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_option_is_described() -> None:
    found = evaluate("import ./nix/tests/reference.nix".replace("./", f"{REPOSITORY}/"))
    options = [option for chapter in found.values() for option in chapter]
    assert len(options) > 60
    assert [option["name"] for option in options if not option["description"]] == []
    text = reference()
    assert all(f"### `{option['name']}`" in text for option in options)
