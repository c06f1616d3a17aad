"""Windows of budgets as parts that counters are kept by: since when something counts, and when it no longer does.

Rules of this file
- A rolling window is cut into sixty parts, none shorter than a second. Every part that overlaps the window counts as a whole:
  more is counted than was asked for, by a sixtieth or a second at most, and never less.
- A calendar window is one part, by the wall clock of its time zone. Days are as long as that clock says: 23 to 25 hours where
  clocks change. Weeks start on Monday.
- Times are whole epoch seconds: counters of all instances have the same parts.
"""

from __future__ import annotations

import functools
import math
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

from router_extproc.registry.spending import Calendar, Window

PARTS = 60
# The last second of the year 9999, for what never ends.
NEVER = 253_402_300_799

_SHORT = {"second": 1, "minute": 60, "hour": 3_600}


class Part(NamedTuple):
    """The part of a window that a moment is in, in epoch seconds.

    ``bucket`` is where the part begins, ``since`` where the first part begins that counts at that moment. ``resets_at`` is when
    what is counted in the part no longer counts, None where that never happens; ``expires_at`` is the same, in a number.
    """

    bucket: int
    since: int
    expires_at: int
    resets_at: int | None


def part(window: Window, now: float, zone: tzinfo | None = None) -> Part:
    """The part of a window at ``now`` (epoch seconds). ``zone`` stands for the window's own time zone, which is looked up
    when it is asked for the first time.

    Raises:
        zoneinfo.ZoneInfoNotFoundError: there is no such time zone.
    """
    if window.rolling_seconds is not None:
        return _rolling(window.rolling_seconds, now)
    if window.calendar is not None:
        return _calendar(window.calendar, now, zone or zone_of(window.timezone))
    return Part(0, 0, NEVER, None)


@functools.cache
def zone_of(name: str) -> tzinfo:
    """The IANA time zone of this name.

    Raises:
        zoneinfo.ZoneInfoNotFoundError: there is none.
    """
    return UTC if name == "UTC" else ZoneInfo(name)


def _rolling(seconds: int, now: float) -> Part:
    length = max(1, math.ceil(seconds / PARTS))
    bucket = math.floor(now / length) * length
    since = math.floor((now - seconds) / length) * length
    resets_at = bucket + length + seconds
    return Part(bucket, since, resets_at, resets_at)


def _calendar(unit: Calendar, now: float, zone: tzinfo) -> Part:
    local = datetime.fromtimestamp(now, zone)
    if (length := _SHORT.get(unit)) is not None:
        # By the offset of this moment, not by the wall clock: an hour that clocks show twice is two hours.
        offset = int((local.utcoffset() or timedelta()).total_seconds())
        begins = math.floor((now + offset) / length) * length - offset
        return Part(begins, begins, begins + length, begins + length)
    begins, ends = _days(unit, local.date(), zone)
    return Part(begins, begins, ends, ends)


# Asked with every request, and the same for a whole day.
@functools.lru_cache(maxsize=1_024)
def _days(unit: Calendar, today: date, zone: tzinfo) -> tuple[int, int]:
    """The epoch seconds at which the day, week or month that a day is in begins, and the next one."""
    if unit == "day":
        first, following = today, today + timedelta(days=1)
    elif unit == "week":
        first = today - timedelta(days=today.weekday())
        following = first + timedelta(days=7)
    else:
        first = today.replace(day=1)
        following = (first + timedelta(days=31)).replace(day=1)
    return _midnight(first, zone), _midnight(following, zone)


def _midnight(day: date, zone: tzinfo) -> int:
    """The epoch second at which a day begins: where clocks skip midnight, that of the skip; where it comes twice, the first."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())
