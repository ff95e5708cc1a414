"""What becomes of standard output that nobody takes: a full disk, a closed descriptor; loaded only where that is so."""

import errno
import os
import sys

from isoctl.progress import write_error

# Of write(2). isoctl opens few files, and each error of one names it.
_OF_WRITING = (
    errno.EAGAIN,
    errno.EBADF,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EINVAL,
    errno.EIO,
    errno.ENOSPC,
    errno.EPIPE,
)


def open_closed() -> None:
    """Put /dev/null where 0, 1 or 2 is closed, so that nothing opened later ends up there.

    It is open for reading alone: what is written to a closed standard output is an error then, not lost.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken, which is this one.
            os.open("/dev/null", os.O_RDONLY)
            os.set_inheritable(number, True)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)


def failed(error: OSError, code: int) -> int:
    """Say in one line that standard output could not be written, or else what failed; gives the exit code."""
    what = "standard output can't be written: " if error.errno in _OF_WRITING and error.filename is None else ""
    write_error(f"isoctl: {what}{error.strerror or error}\n")
    if what:
        # Else Python would try to write the rest at its end, and complain.
        null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(null, 1)
        os.close(null)
    return code
