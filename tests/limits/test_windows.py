"""Windows: what counts at a moment, by clocks that jump, months that end and years that leap."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.limits.windows import NEVER, PARTS, part
from router_extproc.registry.spending import Window

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = "UTC", fold: int = 0) -> int:
    """The epoch second of a wall clock's reading."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp())


def shown(seconds: int | None, zone: str = "UTC") -> str:
    assert seconds is not None
    return datetime.fromtimestamp(seconds, ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(
    ("unit", "now", "begins", "ends"),
    [
        ("second", "2026-03-04 05:06:07", "2026-03-04 05:06:07", "2026-03-04 05:06:08"),
        ("minute", "2026-03-04 05:06:07", "2026-03-04 05:06:00", "2026-03-04 05:07:00"),
        ("hour", "2026-03-04 05:06:07", "2026-03-04 05:00:00", "2026-03-04 06:00:00"),
        ("day", "2026-03-04 23:59:59", "2026-03-04 00:00:00", "2026-03-05 00:00:00"),
        ("week", "2026-03-04 05:06:07", "2026-03-02 00:00:00", "2026-03-09 00:00:00"),
        ("week", "2026-03-02 00:00:00", "2026-03-02 00:00:00", "2026-03-09 00:00:00"),
        ("week", "2026-03-01 23:59:59", "2026-02-23 00:00:00", "2026-03-02 00:00:00"),
        ("month", "2026-01-31 23:59:59", "2026-01-01 00:00:00", "2026-02-01 00:00:00"),
        ("month", "2026-02-28 23:59:59", "2026-02-01 00:00:00", "2026-03-01 00:00:00"),
        ("month", "2028-02-29 12:00:00", "2028-02-01 00:00:00", "2028-03-01 00:00:00"),
        ("month", "2026-12-31 23:59:59", "2026-12-01 00:00:00", "2027-01-01 00:00:00"),
        ("day", "2028-02-29 00:00:00", "2028-02-29 00:00:00", "2028-03-01 00:00:00"),
    ],
)
def test_calendar_windows_begin_and_end_with_their_unit(unit: str, now: str, begins: str, ends: str) -> None:
    """A calendar window begins with the unit that the moment is in and resets when the next one begins; weeks on Monday."""
    found = part(Window(calendar=unit), at(now))  # type: ignore[arg-type]
    assert (shown(found.bucket), shown(found.resets_at)) == (begins, ends)
    assert found.since == found.bucket
    assert found.resets_at is not None
    assert found.expires_at >= found.resets_at


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        (BERLIN, "2026-03-29", 23),
        (BERLIN, "2026-10-25", 25),
        (BERLIN, "2026-07-01", 24),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("Asia/Kathmandu", "2026-04-05", 24),
        # Midnight itself is skipped: the day begins at one o'clock.
        ("Africa/Cairo", "2026-04-24", 23),
        ("Asia/Beirut", "2026-03-29", 23),
        # A day that was left out altogether.
        ("Pacific/Apia", "2011-12-29", 24),
    ],
)
def test_days_are_as_long_as_the_wall_clock_says(zone: str, day: str, hours: float) -> None:
    """A day of a zone lasts from its first moment to the next day's, whatever clocks do in between."""
    noon = at(f"{day} 12:00:00", zone)
    found = part(Window(calendar="day", timezone=zone), noon)
    assert found.resets_at is not None
    assert found.resets_at - found.bucket == hours * 3_600
    assert datetime.fromtimestamp(found.bucket, ZoneInfo(zone)).date().isoformat() == day
    assert datetime.fromtimestamp(found.bucket - 1, ZoneInfo(zone)).date().isoformat() < day


def test_the_hour_that_clocks_show_twice_is_two_hours() -> None:
    """When clocks go back, the second two o'clock is a window of its own, and the first one resets when it begins."""
    hour = Window(calendar="hour", timezone=BERLIN)
    first = part(hour, at("2026-10-25 02:30:00", BERLIN, fold=0))
    second = part(hour, at("2026-10-25 02:30:00", BERLIN, fold=1))
    assert first.resets_at == second.bucket
    assert second.bucket - first.bucket == 3_600


def test_a_month_begins_at_the_zones_midnight() -> None:
    """The last evening of a month in UTC is already the next month in Berlin."""
    found = part(Window(calendar="month", timezone=BERLIN), at("2026-06-30 22:30:00"))
    assert shown(found.bucket, BERLIN) == "2026-07-01 00:00:00"
    assert shown(found.bucket) == "2026-06-30 22:00:00"


def test_without_a_window_everything_counts_for_ever() -> None:
    """A budget without a window has one part, which never resets."""
    assert part(Window(), 1e9) == (0, 0, NEVER, None)


def test_an_unknown_zone_is_an_error() -> None:
    """A zone that does not exist is not taken for UTC."""
    with pytest.raises(ZoneInfoNotFoundError):
        part(Window(calendar="day", timezone="Mars/Olympus"), 1e9)


moments = st.floats(1e9, 4e9)
rolling = st.sampled_from([1, 2, 10, 59, 60, 61, 90, 3_600, 86_400, 2_592_000])


@given(seconds=rolling, now=moments, earlier=st.floats(0, 1))
def test_a_rolling_window_counts_all_of_itself_and_little_more(seconds: int, now: float, earlier: float) -> None:
    """What happened within the window counts; what happened longer ago than the window and one part of it does not."""
    window = Window(rolling_seconds=seconds)
    length = max(1, -(-seconds // PARTS))
    within, since = now - seconds * earlier, part(window, now).since
    assert part(window, within).bucket >= since
    assert part(window, now - seconds - length - 1).bucket < since


@given(seconds=rolling, now=moments)
def test_a_rolling_part_counts_until_it_resets_and_is_kept_until_then(seconds: int, now: float) -> None:
    """A part counts up to the second before it resets and not from then on; it is kept at least until then."""
    window = Window(rolling_seconds=seconds)
    found = part(window, now)
    assert found.resets_at is not None
    assert part(window, found.resets_at - 1e-3).since <= found.bucket < part(window, found.resets_at).since
    assert found.expires_at >= found.resets_at
    assert found.resets_at - now <= seconds + max(1, -(-seconds // PARTS))


@given(
    unit=st.sampled_from(["second", "minute", "hour", "day", "week", "month"]),
    zone=st.sampled_from(["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/St_Johns"]),
    now=moments,
)
def test_every_moment_lies_in_its_own_calendar_part(unit: str, zone: str, now: float) -> None:
    """Parts begin at or before their moments and reset after them, and the moment of the reset is in the next part."""
    window = Window(calendar=unit, timezone=zone)  # type: ignore[arg-type]
    found = part(window, now)
    assert found.resets_at is not None
    assert found.bucket <= now < found.resets_at
    following = part(window, found.resets_at)
    assert following.bucket >= found.bucket + 1
    assert following.bucket <= found.resets_at
    assert part(window, now, datetime.now(UTC).tzinfo) == part(Window(calendar=unit), now)  # type: ignore[arg-type]
