"""For every test: how long an example of a property may take."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Tests share a busy machine, and no property is about time.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")
