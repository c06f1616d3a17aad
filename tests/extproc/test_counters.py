"""What a worker counts of its decisions and their analyses."""

from __future__ import annotations

import json
import os
from pathlib import Path

from router_extproc.extproc.counters import Counters
from router_extproc.extproc.route_leg import Outcome
from router_extproc.facts import Signal


def test_an_analysis_is_counted_with_the_time_of_its_signals() -> None:
    """The histogram has the sum of what each signal took; a request without signals was not analysed."""
    counters = Counters()
    counters.count(Outcome(decided=True, signals=(Signal("counts", 7, 0.25), Signal("routing", {}, 1.5))))
    counters.count(Outcome(decided=True))
    assert (counters.decided, sum(counters.analysis.counts), counters.analysis.sum) == (2, 1, 0.00175)
    assert counters.analysis_failures == {}


def test_why_an_analysis_gave_no_answer_is_counted_once_a_request() -> None:
    """An interrupted one by its deadline, one that stumbled as an error, however many facts are missing for it."""
    counters = Counters()
    counters.count(Outcome(signals=(Signal("counts", 7, 0.25),), is_cut_short=True))
    counters.count(Outcome(signals=(Signal("routing", "failed: ValueError"), Signal("kind", "failed: KeyError"))))
    counters.count(Outcome(signals=(Signal("language", "fr"),)))
    assert counters.analysis_failures == {"deadline": 1, "error": 1}


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """The observer reads JSON with the process's id and its memory, and no half of a file."""
    counters = Counters()
    counters.count(Outcome(refused="model_not_found", seconds=0.5))
    counters.write(tmp_path / "counters" / "worker-0.json")
    found = json.loads((tmp_path / "counters" / "worker-0.json").read_bytes())
    assert (found["pid"], found["refused"], found["decision_seconds_sum"]) == (os.getpid(), {"model_not_found": 1}, 0.5)
    assert found["rss_bytes"] > 1 << 20
    assert [path.name for path in (tmp_path / "counters").iterdir()] == ["worker-0.json"]
