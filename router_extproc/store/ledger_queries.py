"""Questions to the ledger, asked while others write: what was spent by whom on what, and the newest calls."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from router_extproc.store.counters import StoreUnavailableError
from router_extproc.store.ledger_file import LEDGER
from router_extproc.store.ledger_values import COLUMNS_OF_TEXT, LedgerRow, Spent
from router_extproc.store.sqlite_file import pragma, reading

_COLUMNS = LedgerRow.__struct_fields__
_DAY = "day"
_TAG = "tag:"


def spent(
    path: Path,
    per: Sequence[str] = (),
    *,
    since: float = 0.0,
    until: float | None = None,
    match: Sequence[tuple[str, str]] = (),
    limit: int = 1_000,
) -> list[Spent]:
    """Sums by the labels ``per`` over calls from ``since`` on and before ``until`` (epoch seconds) that match all (label,
    value) pairs, dearest first.

    Labels are ``COLUMNS_OF_TEXT``, ``tag:NAME``, and ``day`` (``2026-11-21``, UTC). Without labels there is one sum; without
    a file, or any call, none.

    Raises:
        ValueError: there is no such label.
        StoreUnavailableError: the file cannot be read.
    """
    labels = [_expression(label) for label in per]
    columns = "".join(f"{expression}, " for expression, _ in labels)
    conditions, values = _matching(match)
    conditions += ["at >= ?", "(? is null or at < ?)"]
    statement = (
        f"select {columns}count(*), sum(prompt_tokens), sum(completion_tokens), sum(cached_tokens), sum(cost_micro_usd)"  # noqa: S608 - only names of ours
        f" from ledger where {' and '.join(conditions)}"
    )
    if labels:
        statement += f" group by {', '.join(str(place + 1) for place in range(len(labels)))}"
    statement += " order by sum(cost_micro_usd) desc limit ?"
    bound = [*(value for _, names in labels for value in names), *values, since, until, until, limit]
    return [Spent(tuple(row[: len(per)]), *row[len(per) :]) for row in _rows(path, statement, bound) if row[len(per)]]


def ledger_rows(
    path: Path, *, match: Sequence[tuple[str, str]] = (), before: int | None = None, limit: int = 100
) -> list[tuple[int, LedgerRow]]:
    """The newest calls with their sequence numbers; ``before`` (a sequence number) turns the page. Labels as in ``spent``.

    Raises:
        ValueError: there is no such label.
        StoreUnavailableError: the file cannot be read.
    """
    conditions, values = _matching(match)
    conditions.append("(? is null or sequence < ?)")
    statement = (
        f"select sequence, {', '.join(_COLUMNS)} from ledger"  # noqa: S608 - only names of ours
        f" where {' and '.join(conditions)} order by sequence desc limit ?"
    )
    return [(row[0], _row(row[1:])) for row in _rows(path, statement, [*values, before, before, limit])]


def _row(values: Sequence[Any]) -> LedgerRow:
    columns = dict(zip(_COLUMNS, values, strict=True))
    columns["tags"] = msgspec.json.decode(columns["tags"])
    return msgspec.convert(columns, LedgerRow)


def _matching(match: Sequence[tuple[str, str]]) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []
    for label, value in match:
        expression, names = _expression(label)
        conditions.append(f"{expression} = ?")
        values += [*names, value]
    return conditions, values


def _expression(label: str) -> tuple[str, list[str]]:
    """SQL for a label's value, and the values that the SQL asks for."""
    if label in COLUMNS_OF_TEXT:
        return label, []
    if label == _DAY:
        return "date(at, 'unixepoch')", []
    if label.startswith(_TAG):
        return "coalesce((select value from json_each(tags) where key = ?), '')", [label.removeprefix(_TAG)]
    raise ValueError(f"no label {label!r}: there are {', '.join(COLUMNS_OF_TEXT)}, {_DAY} and {_TAG}NAME")


def _rows(path: Path, statement: str, values: Sequence[Any]) -> list[Any]:
    try:
        with reading(path) as connection:
            version = 0 if connection is None else pragma(connection, "user_version")
            if connection is None or version == 0:
                return []
            if version > LEDGER.version:
                raise StoreUnavailableError(f"{path.name} was written by a newer version (schema {version})")
            return connection.execute(statement, values).fetchall()
    except sqlite3.Error as error:
        raise StoreUnavailableError(f"{path.name} cannot be read: {error}") from error
