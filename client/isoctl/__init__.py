"""The command line of isod; see `isoctl --help`."""
