import pytest

from router_extproc.simulator.rate_limits import Bucket, format_duration, retry_after_headers


def test_a_bucket_empties_and_refills_all_the_time() -> None:
    """Sixty a minute come back one a second."""
    bucket = Bucket(60, now=0.0)
    assert [bucket.take(30, 0.0).remaining for _ in range(2)] == [30, 0]
    refused = bucket.take(1, 0.0)
    assert (refused.remaining, refused.wait_seconds, refused.reset_seconds) == (0, 1.0, 60.0)
    assert bucket.take(1, 1.0).wait_seconds == 0.0


def test_what_is_larger_than_the_bucket_fits_a_full_one_and_is_owed() -> None:
    """One huge request passes when nothing was taken, and the next ones wait for it."""
    bucket = Bucket(60, now=0.0)
    assert bucket.take(120, 0.0).wait_seconds == 0.0
    assert bucket.take(1, 0.0).wait_seconds == 61.0


@pytest.mark.parametrize(
    ("seconds", "written"), [(0, "0ms"), (0.0165, "17ms"), (1, "1s"), (1.5, "1.5s"), (60, "1m0s"), (61.25, "1m1.25s")]
)
def test_durations_are_written_as_openai_writes_them(seconds: float, written: str) -> None:
    """Clients parse these."""
    assert format_duration(seconds) == written


def test_retry_after_is_rounded_up_to_whole_seconds() -> None:
    """HTTP knows whole seconds only; the exact wait stands beside it."""
    assert retry_after_headers(0.25) == {"retry-after": "1", "retry-after-ms": "250"}
