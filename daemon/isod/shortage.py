"""Shortages of the machine's, told from faults of ours: a descriptor, a thread or memory that is not to be had now."""

import errno

from isod_contract.errors import LimitExceeded

_SHORT = {
    errno.EMFILE: "isod has no file descriptors left",
    errno.ENFILE: "the host has no file descriptors left",
    errno.ENOMEM: "the host has no memory left",
    errno.ENOBUFS: "the host has no memory left",
    errno.EAGAIN: "isod can start no more threads or processes",
}
_NO_THREAD = "can't start new thread"  # threading.Thread.start, whatever the reason


def shortage_of(error: BaseException) -> LimitExceeded | None:
    """Give what a caller is told of an error that is a shortage; None for any other."""
    reason = ""
    if isinstance(error, OSError):
        reason = _SHORT.get(error.errno or 0, "")
    elif isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        reason = _SHORT[errno.EAGAIN]
    return LimitExceeded(reason=f"{reason}, try again later") if reason else None
