"""For all tests."""

import signal

# A shell starts its background jobs with these ignored, and so they would be in every program that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
