"""Use-cases and state; no bus, no udev, no subprocess."""
