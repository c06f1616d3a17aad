"""What costs by the piece, or a fee, beside or in place of tokens."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from router_extproc.account import Account, Rates, decode_account
from tests.observer.lines import ACCOUNT, RATES, render, settled, unreported

BY_PIECE = replace(ACCOUNT, rates={"openai/small": Rates(0, 0, 0, fixed=40_000, by_piece=True)})
HEARD = replace(
    ACCOUNT, rates={"openai/small": Rates(0, 0, 0, fixed=5_000, by_piece=True, per_second=100_000_000, most_seconds=90)}
)


@pytest.mark.parametrize(
    ("account", "fields", "paid"),
    [
        (BY_PIECE, {}, "0+0 price 40000"),
        (BY_PIECE, unreported(), "0+0 price 40000"),
        (BY_PIECE, unreported(flags="DC", status=0, first_byte_ms=None), "0+0 price 40000"),
        (BY_PIECE, unreported(status=500), "0+0 none 0"),
        (BY_PIECE, {**unreported(), "method": "GET"}, "0+0 none 0"),
        (HEARD, {**unreported(), "seconds": 9}, "0+0 price 5900"),
        (HEARD, {**unreported(), "seconds": 8.47}, "0+0 price 5900"),
        (HEARD, {**unreported(), "seconds": 0}, "0+0 price 5000"),
        (HEARD, {**unreported(), "seconds": "8.47"}, "0+0 price 5900"),
        (HEARD, {**unreported(), "seconds": -3}, "0+0 price 14000"),
        (HEARD, {**unreported(), "seconds": "long"}, "0+0 price 14000"),
        (HEARD, unreported(), "0+0 price 14000"),
        (HEARD, unreported(status=400), "0+0 none 0"),
    ],
)
def test_what_is_made_by_the_piece_is_paid_once_it_is_made(account: Account, fields: dict[str, Any], paid: str) -> None:
    """Whatever tokens are told of it; sound by the seconds that its provider heard, else by the most that were set aside."""
    assert render(settled(account, **fields)) == [f"1 openai/small {paid}"]


def test_a_fee_is_paid_with_each_answer_that_was_made() -> None:
    """Beside its tokens, and not where nothing was made."""
    fee = replace(ACCOUNT, rates={"openai/small": replace(RATES, fixed=5_000)})
    assert render(settled(fee)) == ["1 openai/small 120+30 provider 5575"]
    assert render(settled(fee, **unreported(status=500))) == ["1 openai/small 0+0 none 0"]


def test_a_line_that_was_written_before_there_were_pieces_is_settled_as_it_was() -> None:
    """Accounts travel through logs that outlive an upgrade: rates of three figures and tiers are those of tokens."""
    old = decode_account('{"reservation":"d-1","rates":{"openai/small":[2500000,10000000,1250000,[]]}}')
    assert old.rates["openai/small"] == RATES
    assert render(settled(old)) == ["1 openai/small 120+30 provider 575"]
