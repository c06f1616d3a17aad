"""What workers count is added up so that totals only grow, through restarts, drains and missing files."""

from __future__ import annotations

import json
import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from router_extproc.observer.worker_counters import WorkerCounters
from router_extproc.telemetry.worker_figures import WorkerFigures

NOW = 1_000.0


def test_files_are_read(tmp_path: Path) -> None:
    """Each worker's file, as the workers write it; anything else in the folder is passed over."""
    (tmp_path / "worker-0.json").write_text(
        json.dumps({"pid": 7, "decided": 5, "refused": {"model_not_found": 2}, "rss_bytes": 9})
    )
    (tmp_path / "worker-1.json").write_text('{"pid": 8, "deci')
    (tmp_path / "worker-2.tmp").write_text("{}")
    os.utime(tmp_path / "worker-0.json", (NOW, NOW))
    counters = WorkerCounters(tmp_path)
    counters.refresh(NOW)
    totals = counters.totals(NOW)
    assert list(totals) == [0]
    assert (totals[0].decided, totals[0].refused, totals[0].rss_bytes) == (5, {"model_not_found": 2}, 9)


def test_no_folder_is_no_workers(tmp_path: Path) -> None:
    """Before the first worker has written anything there is nothing to show."""
    counters = WorkerCounters(tmp_path / "counters")
    counters.refresh(NOW)
    assert counters.totals(NOW) == {}


def test_a_restarted_worker_goes_on_from_where_the_last_was() -> None:
    """A new process counts from zero, the total does not."""
    counters = WorkerCounters(Path("unused"))
    counters.take(0, WorkerFigures(pid=1, decided=100, refused={"x": 3}, streams=4), NOW)
    counters.take(0, WorkerFigures(pid=2, decided=10, refused={"x": 1}, streams=1), NOW + 10)
    total = counters.totals(NOW + 10)[0]
    assert (total.decided, total.refused, total.streams) == (110, {"x": 4}, 1)


def test_two_processes_that_write_in_turn_are_not_counted_twice() -> None:
    """A draining worker and its successor share the file's name for a while."""
    counters = WorkerCounters(Path("unused"))
    for step in range(20):
        counters.take(0, WorkerFigures(pid=1, decided=100 + step, streams=3), NOW + step)
        counters.take(0, WorkerFigures(pid=2, decided=step, streams=1), NOW + step)
    total = counters.totals(NOW + 20)[0]
    assert (total.decided, total.streams) == (119 + 19, 4)


def test_a_process_id_that_comes_again_is_another_process() -> None:
    """In a container every worker may have the same one."""
    counters = WorkerCounters(Path("unused"))
    for decided in (50, 60, 5):
        counters.take(0, WorkerFigures(pid=12, decided=decided), NOW)
    assert counters.totals(NOW)[0].decided == 65


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 50)), max_size=200))
def test_totals_only_grow(steps: list[tuple[int, int]]) -> None:
    """Any sequence of processes, each counting up: the total is the sum of all, however many there were."""
    counters = WorkerCounters(Path("unused"))
    process, decided, expected, before = 0, 0, 0, 0
    for restart, more in steps:
        if restart == 1:
            process, decided = process + 1, 0
        decided += more
        expected += more
        counters.take(0, WorkerFigures(pid=process, decided=decided, refused={"x": decided}), NOW)
        total = counters.totals(NOW)[0]
        assert total.decided == expected >= before
        assert total.refused.get("x", 0) == expected
        before = expected


def test_codes_are_bounded() -> None:
    """A worker gone mad does not fill the metrics."""
    counters = WorkerCounters(Path("unused"))
    counters.take(0, WorkerFigures(pid=1, refused={f"code-{number}": 1 for number in range(500)}), NOW)
    refused = counters.totals(NOW)[0].refused
    assert len(refused) == 65
    assert refused["other"] == 500 - 64
