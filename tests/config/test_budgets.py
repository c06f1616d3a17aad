"""What only a budget's own section can say."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from router_extproc.config.budgets import Budget, Window


@pytest.mark.parametrize(
    "zone", ["", "Europe", "../../../etc/passwd", "/etc/localtime", "Europe/Berln", "UTC\0", "posixrules/"]
)
def test_no_other_time_zone_is_accepted(zone: str) -> None:
    """A name that leads out of the database, or to no zone in it, is refused like any other wrong value."""
    with pytest.raises(ValidationError, match="there is no time zone"):
        Window.model_validate({"calendar": "day", "timezone": zone})


def test_time_zones_need_nothing_of_the_system() -> None:
    """Slim images bring no time zones: then those of the package `tzdata` count."""
    program = (
        "from router_extproc.config.budgets import Window\n"
        "print(Window.model_validate({'calendar': 'day', 'timezone': 'Europe/Berlin'}).timezone)"
    )
    environment = os.environ | {"PYTHONTZPATH": ""}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (ended.stdout, ended.returncode) == ("Europe/Berlin\n", 0), ended.stderr


@pytest.mark.parametrize("unit", ["usd", "tokens", "requests", "parallel", "iterations"])
def test_an_amount_of_nothing_is_an_amount(unit: str) -> None:
    """0 allows nothing; it is not the same as no budget."""
    budget = Budget.model_validate({unit: 0}, strict=True)
    assert (budget.unit, budget.amount) == (unit, 0)


def test_the_largest_amounts_fit_where_they_are_counted() -> None:
    """Stores keep 64 bits; a thousand full budgets and all their raises fit."""
    most = Budget.model_validate({"usd": "1000000000"}, strict=True).amount
    assert most == Budget.model_validate({"tokens": most}, strict=True).amount
    assert most * 1_000 < 2**63
    with pytest.raises(ValidationError):
        Budget.model_validate({"tokens": most + 1}, strict=True)
