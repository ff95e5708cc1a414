"""What isod, isod-session, isod-helper and isoctl agree on; standard library only."""

VERSION = "0.1.0"
