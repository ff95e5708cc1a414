"""A real systemd host in a container, with product containers nested in it, for tests and demonstrations."""
