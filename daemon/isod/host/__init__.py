"""Adapters to the outside: systemd, machined, the container's own bus, polkit, the FD store."""
