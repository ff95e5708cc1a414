"""A file of JSON that is written whole or not at all."""

import contextlib
import json
import os
from pathlib import Path

from isod_contract.errors import NoSpace


def write_json(path: Path, value: object) -> None:
    """Write it by rename, so that nobody ever reads half of it. Raises NoSpace."""
    fresh = path.with_suffix(".new")
    try:
        fresh.write_text(json.dumps(value))
        fresh.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise NoSpace(what=str(path.parent), reason=os.strerror(error.errno or 0)) from None
