"""How amounts, times and addresses are read from what is written."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from router_extproc.config import values
from router_extproc.config.tree import plain, read_tree


def dollars(written: str) -> int:
    """What the file's text stands for in micro-dollars."""
    tree, problems = read_tree(f"usd: {written}\n")
    assert not problems
    value = plain(tree)
    assert isinstance(value, dict)
    amount = values.read_dollars(value["usd"])
    assert isinstance(amount, int)
    return amount


@pytest.mark.parametrize(
    ("written", "micro_dollars"),
    [
        ("0", 0),
        ("25", 25_000_000),
        ("0.1", 100_000),
        (".5", 500_000),
        ("0.000001", 1),
        ("1e3", 1_000_000_000),
        ("1e-6", 1),
        ("'12.50'", 12_500_000),
        ("1000000000", values.MOST),
        ("999999999.999999", values.MOST - 1),
        # As a binary fraction this is 1123456.1000000000931…: only the text says what is meant.
        ("1123456.1", 1_123_456_100_000),
    ],
)
def test_dollars_are_read_to_the_micro_dollar(written: str, micro_dollars: int) -> None:
    """What is written is what is meant, however it is written."""
    assert dollars(written) == micro_dollars


@given(st.integers(min_value=0, max_value=values.MOST))
def test_every_amount_comes_back(micro_dollars: int) -> None:
    """No amount is rounded, with or without quotes."""
    written = f"{Decimal(micro_dollars) / 1_000_000:.6f}"
    assert dollars(written) == micro_dollars
    assert dollars(f'"{written}"') == micro_dollars


@pytest.mark.parametrize(
    "written",
    [
        "-1",
        "-0.01",
        ".nan",
        ".inf",
        "nan",
        "'NaN'",
        "'Infinity'",
        "'-5'",
        "'+5'",
        "'00000000012'",
        "'0.0000010'",
        "'1e3'",
        "true",
        "~",
        "[1]",
        "0.0000001",
        # A float would take both for 0.1 and 10.
        "0.10000000000000001",
        "9.99999999999999999999",
        "1000000000.000001",
        "$5",
        "5 USD",
        "1,000",
        "1_000",
        "'١٢'",
        "1.0000000000000000000000000001",
        "1e400",
        "1e-400",
        "1e999999999",
        "1e-999999999",
    ],
)
def test_no_other_amount_is_read(written: str) -> None:
    """Negative, endless, finer than a micro-dollar, or no number: refused, never rounded to something near."""
    with pytest.raises(PydanticCustomError):
        dollars(written)


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("-5", "cannot be negative"),
        ("0.0000001", "finer than a millionth"),
        ("1000000001", "more than a billion"),
        ("1e3", "expected an amount"),
    ],
)
def test_in_quotes_it_is_told_as_well_what_is_wrong_with_an_amount(written: str, complaint: str) -> None:
    """As commands pass it on."""
    with pytest.raises(PydanticCustomError, match=complaint):
        dollars(f"'{written}'")


@pytest.mark.parametrize(
    ("written", "epoch"),
    [
        ("2026-12-31", 1_798_675_200),
        ("2026-12-31T00:00:00Z", 1_798_675_200),
        ("2026-12-31T01:30:00+01:30", 1_798_675_200),
        ("2028-02-29T12:00:00-05:00", 1_835_456_400),
    ],
)
def test_times_are_read_as_instants(written: str, epoch: int) -> None:
    """A date is the beginning of its day in UTC; a time says its zone."""
    assert values.read_instant(written) == epoch


@pytest.mark.parametrize(
    "written", ["2026-12-31T10:00:00", "20261231", "tomorrow", "2026-02-30", 1_798_675_200, None, True, ""]
)
def test_no_other_time_is_read(written: object) -> None:
    """A time without a zone would be another one on another machine; a number could be seconds or milliseconds."""
    with pytest.raises(PydanticCustomError):
        values.read_instant(written)


def test_a_revocation_is_a_truth_or_a_time() -> None:
    """``true`` is since ever, ``false`` and nothing are not at all."""
    assert values.read_revocation(value=True) == 0
    assert values.read_revocation(value=False) is None
    assert values.read_revocation(None) is None
    assert values.read_revocation("2026-12-31") == 1_798_675_200


@pytest.mark.parametrize("address", ["http://[::1]:8000/v1", "https://host.example", "redis://10.0.0.1:6379/1"])
def test_usable_addresses_stay_as_they_are(address: str) -> None:
    """Nothing of an address is changed."""
    assert values.read_address(address) == address


@pytest.mark.parametrize("address", ["http://[::1/v1", "http://[zz]/", "http://host:70000/", "http://host:0", "http://:80/"])
def test_unusable_addresses_are_refused(address: str) -> None:
    """An address without a host or port that can exist is refused instead of failing later."""
    with pytest.raises(PydanticCustomError):
        values.read_address(address)


@given(st.integers(min_value=1, max_value=10**12))
def test_durations_are_told_as_they_are_read(milliseconds: int) -> None:
    """What a message says can be written into the file."""
    text = values.as_duration(milliseconds)
    assert values.is_duration(text) is (len(text.rstrip("dhms")) <= 9)
    if values.is_duration(text) and milliseconds <= 10 * 366 * 86_400_000:
        assert values.read_duration(text) == milliseconds


@given(st.integers(min_value=1, max_value=10**12 - 1))
def test_sizes_are_told_as_they_are_read(size: int) -> None:
    """The same for sizes."""
    assert values.read_size(values.as_size(size)) == size
