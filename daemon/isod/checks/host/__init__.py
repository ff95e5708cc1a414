"""Checks of the host that need what isod alone knows: each looks at HostFacts."""
