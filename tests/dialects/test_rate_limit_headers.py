"""The table of what providers call their limits is one that Envoy can log and the reading can trust."""

from __future__ import annotations

import pytest

from router_extproc.dialects.rate_limit_headers import HEADERS, QUOTAS, QuotaHeaders


@pytest.mark.parametrize("quota", QUOTAS, ids=lambda quota: quota.remaining)
def test_each_quota_has_a_unit_and_a_reset(quota: QuotaHeaders) -> None:
    """Requests or tokens, and at least one header that says when; all of them are in the list for Envoy."""
    assert quota.unit in ("requests", "tokens")
    assert ("token" in quota.remaining) == (quota.unit == "tokens")
    assert quota.resets
    assert {quota.remaining, *quota.resets} <= set(HEADERS)


def test_no_name_stands_twice() -> None:
    """Names are lower-case, as Envoy logs them; a quota told by two rows would be one too many."""
    assert len(set(HEADERS)) == len(HEADERS)
    assert all(header == header.lower() for header in HEADERS)
    assert len({quota.remaining for quota in QUOTAS}) == len(QUOTAS)
