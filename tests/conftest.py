"""What every test shares: a Hypothesis profile without timings, for a machine may be slow."""

from hypothesis import HealthCheck, settings

settings.register_profile("faregate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("faregate")
