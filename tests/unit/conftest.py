"""How hypothesis runs here: no bound in wall-clock time, and a failure that can be repeated."""

from hypothesis import HealthCheck, settings

# A machine shared with others may take any time; an example that hangs is pytest-timeout's business.
settings.register_profile("isoctl", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("isoctl")
