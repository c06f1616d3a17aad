"""The schema of ``budgets``: caps on money, tokens, requests, parallel requests and iterations."""

from __future__ import annotations

import difflib
from datetime import date, datetime
from typing import Annotated, Literal, get_args
from zoneinfo import ZoneInfo, available_timezones

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from router_extproc.account import Unit
from router_extproc.config.redaction import shown
from router_extproc.config.section import Section
from router_extproc.config.values import (
    Amount,
    Count,
    Dollars,
    Instant,
    Label,
    LabelValue,
    Milliseconds,
    Rollover,
    Share,
    is_duration,
)

UNITS: tuple[Unit, ...] = ("usd", "tokens", "requests", "parallel", "iterations")
FOREVER = "forever"
CalendarName = Literal["second", "minute", "hour", "day", "week", "month"]
ModeName = Literal["off", "observe", "enforce"]
AtCapName = Literal["reject", "allow_and_flag"]
OnStoreFailureName = Literal["fail_open", "fail_closed", "local_share"]
Threshold = Annotated[float, Field(gt=0, le=1)]

_SECOND_MS = 1_000
_LONGEST_WINDOW_MS = 366 * 24 * 3_600 * _SECOND_MS
# Labels whose values clients choose: there is no end of them, so what is counted for each must have one.
_NAMED_BY_CLIENTS = frozenset({"session", "user"})
_NAMED_BY_CLIENTS_WINDOW = {"rolling": "30d"}


def _window_as_text(schema: JsonDict) -> None:
    """Says in the JSON Schema that a word is enough."""
    mapping = dict(schema)
    schema.clear()
    words: JsonDict = {
        "enum": ["second", "minute", "hour", "day", "week", "month", FOREVER],
        "description": "A calendar window in UTC; forever never begins anew.",
    }
    schema |= {"anyOf": [words, mapping]}


class Window(Section):
    """The time over which a budget counts: a ``calendar`` unit, or ``rolling`` back from now. A word is a calendar unit."""

    model_config = ConfigDict(json_schema_extra=_window_as_text)

    calendar: CalendarName | None = Field(None, description="From its beginning; weeks begin on Monday.")
    timezone: str = Field("UTC", description="Where the calendar window begins, as in Europe/Berlin.")
    rolling: Milliseconds | None = Field(None, description="Back from now: 1s to 366d, in whole seconds.")

    @property
    def is_forever(self) -> bool:
        """Whether it never begins anew."""
        return self.calendar is None and self.rolling is None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        words = (*get_args(CalendarName), FOREVER)
        if value not in words:
            message = "`{found}` is not one of {words}"
            fix = "write {{rolling: {length}}} for a window that ends now, or a word of the calendar".format(
                length=shown(value) if is_duration(value) else "24h"
            )
            guess = difflib.get_close_matches(value, words, n=1)
            context = {"found": shown(value), "words": ", ".join(words), "fix": f"did you mean `{guess[0]}`?" if guess else fix}
            raise PydanticCustomError("unknown_window", message, context)
        return {} if value == FOREVER else {"calendar": value}

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, OSError, ValueError):
            guess = difflib.get_close_matches(value, available_timezones(), n=1)
            fix = f"did you mean `{guess[0]}`?" if guess else "write an IANA name, for example Europe/Berlin"
            message = "there is no time zone named `{found}`"
            raise PydanticCustomError("unknown_zone", message, {"found": shown(value), "fix": fix}) from None
        return value

    @field_validator("rolling")
    @classmethod
    def _whole_seconds(cls, value: int | None) -> int | None:
        if value is not None and (value % _SECOND_MS or value > _LONGEST_WINDOW_MS):
            fix = {"fix": "write for example 60s, 1h or 30d"}
            raise PydanticCustomError("out_of_range", "expected whole seconds, 366 days at most", fix)
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Window:
        if self.calendar is not None and self.rolling is not None:
            message = "a window is either `calendar` or `rolling`"
            raise PydanticCustomError("one_of", message, {"fix": "keep one of them"})
        if "timezone" in self.model_fields_set and self.calendar is None:
            message = "a time zone belongs to a calendar window"
            fix = "write calendar: day beside it, or remove it" if self.rolling is None else "remove it, or `rolling`"
            raise PydanticCustomError("contradiction", message, {"fix": fix})
        return self


class _Sized(Section):
    """Exactly one amount, in the unit that its key names."""

    usd: Dollars | None = Field(None, description="US dollars, to the micro-dollar.")
    tokens: Amount | None = Field(None, description="Tokens of prompts and answers together.")
    requests: Amount | None = Field(None, description="Requests.")
    parallel: Amount | None = Field(None, description="Requests in progress at once.")
    iterations: Amount | None = Field(None, description="Requests of one session.")

    @model_validator(mode="after")
    def _one_amount(self) -> _Sized:
        written = [unit for unit in UNITS if getattr(self, unit) is not None]
        if len(written) != 1:
            message = "exactly one of `usd`, `tokens`, `requests`, `parallel` and `iterations` is written"
            fix = "write one of them, for example usd: 25" if not written else f"keep one of {', '.join(written)}"
            raise PydanticCustomError("one_of", message, {"fix": fix})
        return self

    @property
    def unit(self) -> Unit:
        """Which amount is written."""
        return next(unit for unit in UNITS if getattr(self, unit) is not None)

    @property
    def amount(self) -> int:
        """The amount in its unit; micro-dollars for usd."""
        return int(getattr(self, self.unit))


class Raise(_Sized):
    """A further amount for a while."""

    until: Instant = Field(description="When it ends.")
    since: Instant | None = Field(None, description="When it begins. Default: at once.")

    @model_validator(mode="after")
    def _in_order(self) -> Raise:
        if self.since is not None and self.since >= self.until:
            raise PydanticCustomError("contradiction", "`until` is not after `since`", {"fix": "exchange them"})
        return self


class _Counted(Section):
    """Over which time something is counted, and what happens near its end."""

    window: Window = Field(Window(), description="Over which time it counts. Default: forever.")
    mode: ModeName = Field("enforce", description="observe counts and reports, and refuses nothing.")
    warn_at: tuple[Threshold, ...] | None = Field(
        None, description="Shares at which an alert is sent. Default: 0.8; none for parallel, or windows below an hour."
    )
    at_cap: AtCapName = Field("reject", description="What happens to what does not fit.")
    on_store_failure: OnStoreFailureName = Field(
        "fail_closed", description="What happens while the store cannot be reached, or does not answer in time."
    )
    local_share: Threshold = Field(
        0.1, description="For local_share: what each instance may spend alone, as a share of the amount."
    )

    @field_validator("warn_at", mode="before", json_schema_input_type=Threshold | tuple[Threshold, ...] | None)
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value


class ProviderBudget(_Counted):
    """What may be spent at one provider; at its end requests go elsewhere."""

    usd: Dollars = Field(description="US dollars, to the micro-dollar.")


class Budget(_Sized, _Counted):
    """A cap on what the requests that match use together, or each value of ``per`` for itself."""

    window: Window = Field(
        Window(),
        description="Over which time it counts. Default: forever, or the last 30 days where `per` has `session` or `user`.",
    )
    raises: tuple[Raise, ...] = Field((), description="Temporary further amounts.")
    match: dict[Label, LabelValue] = Field(
        {}, description="Labels that all must have this value; `*` at the end matches any rest."
    )
    per: tuple[Label, ...] = Field((), description="One label or several: each value has the amount for itself.")
    downgrade_at: Share | None = Field(
        None, description="Share from which cheaper tiers are used. Default: 0.9 for usd and tokens, else never; 1 for never."
    )
    assume_max_output_tokens: Count | None = Field(
        None, description="Set aside for the answer of a request without max_tokens. Default: the model's limit."
    )
    rollover: Rollover = Field(
        default=False,
        description="What a calendar window leaves unused is added to the next, at most one window's amount: true, or a date "
        "or time from which on windows begin that leave something.",
    )

    @field_validator("per", mode="before", json_schema_input_type=Label | tuple[Label, ...])
    @classmethod
    def _one_label(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("per")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise PydanticCustomError("duplicate_name", "a label is written twice", {"fix": "write each once"})
        return value

    @field_validator("rollover")
    @classmethod
    def _has_windows(cls, value: Rollover, info: ValidationInfo) -> Rollover:
        # A window or amount that is wrong itself is missing here, and told of already.
        window = info.data.get("window")
        if value is False or window is None:
            return value
        if info.data.get("parallel") is not None:
            message = "requests in progress are counted now: no window leaves any to the next"
            raise PydanticCustomError("contradiction", message, {"fix": "remove `rollover`"})
        if window.calendar is None:
            found = "a rolling window has no next one" if window.rolling is not None else "a budget forever has no next window"
            context = {"found": found, "fix": "write a calendar window, as in window: month, or remove `rollover`"}
            raise PydanticCustomError("contradiction", "{found} to leave anything to", context)
        return value

    @property
    def window_in_force(self) -> Window:
        """The window that is written, else the default one."""
        is_open = self.unit == "parallel" or "window" in self.model_fields_set or _NAMED_BY_CLIENTS.isdisjoint(self.per)
        return self.window if is_open else Window.model_validate(_NAMED_BY_CLIENTS_WINDOW)

    @property
    def rollover_since(self) -> float | None:
        """Windows that begin then (epoch seconds) or later leave what they do not use to the next; None: no window does."""
        if isinstance(self.rollover, bool):
            return 0.0 if self.rollover else None
        if isinstance(self.rollover, date):
            day = self.rollover
            return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(self.window.timezone)).timestamp()
        return self.rollover

    @model_validator(mode="after")
    def _fits_together(self) -> Budget:
        if self.unit == "parallel" and "window" in self.model_fields_set:
            message = "requests in progress are counted now, over no window"
            raise PydanticCustomError("contradiction", message, {"fix": "remove `window`"})
        if "session" in self.per and "window" in self.model_fields_set and self.window.is_forever:
            message = "every session that there ever was would be kept"
            fix = "write a time, as in window: {rolling: 90d}, or remove `window` for the last 30 days"
            raise PydanticCustomError("unbounded", message, {"fix": fix})
        for raised in self.raises:
            if raised.unit != self.unit:
                context = {"unit": raised.unit, "own": self.unit, "fix": f"write {self.unit}: AMOUNT"}
                raise PydanticCustomError("contradiction", "a raise in {unit} of a budget in {own}", context)
        return self
