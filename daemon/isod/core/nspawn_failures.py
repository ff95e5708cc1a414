"""Why systemd-nspawn did not start a container, in words for everybody: its log names paths, and is root's."""

import re
from collections.abc import Iterable

# nspawn's own sentences (src/nspawn/nspawn-mount.c); a path in them may be another user's.
_KNOWN = {
    r"Failed to map ids for bind mount /.*": (
        "a directory that is shared with it lies on a file system that can't map owners (idmap), as NFS and FUSE; "
        "share one of another file system, or leave out the container's user namespace"
    ),
    r"Failed to stat /.*: No such file or directory": (
        "a directory that is shared with it is not there; make it, or take it out of the container's configuration"
    ),
}


def known_reason(untrusted_lines: Iterable[str]) -> str:
    """Give the sentence for the last line of a log that is known; "" for none."""
    return next(
        (
            reason
            for line in reversed([*untrusted_lines])
            for known, reason in _KNOWN.items()
            if re.fullmatch(known, line)
        ),
        "",
    )
