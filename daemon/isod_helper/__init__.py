"""The few acts that need more rights than isod has, one fixed verb a process; standard library only."""
