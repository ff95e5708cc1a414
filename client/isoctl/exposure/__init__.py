"""What a process in a container can reach: measured by a probe that runs there as an app, and judged here."""
