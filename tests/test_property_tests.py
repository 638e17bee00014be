"""Property tests measure no wall time, or each would fail now and then on a busy machine."""

from __future__ import annotations

from hypothesis import HealthCheck, settings


def test_property_tests_know_no_clock() -> None:
    used = settings()
    assert used.deadline is None
    assert HealthCheck.too_slow in used.suppress_health_check
