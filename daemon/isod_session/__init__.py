"""The service of one user: isod's interface on the session bus, and the live session made known to isod."""
