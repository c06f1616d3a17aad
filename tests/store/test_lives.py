"""Lives of Envoy: each has a mark that no other instance gives, and counters that lie where the others of a request lie."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.store.lives import Lives, counter_of, counters_of, is_of, place_of


def test_every_process_knows_a_life_by_the_same_mark(tmp_path: Path) -> None:
    """Also one that starts later; another life has another mark, and so has the same name in another instance."""
    mark = Lives(tmp_path / "lives").mark("one")
    later = Lives(tmp_path / "lives")
    assert [later.mark("one"), later.mark("one")] == [mark, mark]
    assert len({mark, later.mark("two"), Lives(tmp_path / "another").mark("one")}) == 3


@pytest.mark.parametrize("name", ["", "-"])
def test_a_life_without_a_name_has_no_mark(tmp_path: Path, name: str) -> None:
    """Envoy says ``-`` where nobody gave it one; nothing is written for it."""
    assert Lives(tmp_path).mark(name) == ""
    assert list(tmp_path.iterdir()) == []


def test_what_is_known_of_lives_is_their_files(tmp_path: Path) -> None:
    """Another process finds them, and whose they are; names may hold anything."""
    names = ["one", "../two", "thr\udcffee"]
    lives = Lives(tmp_path / "lives")
    assert lives.files() == {}
    marks = [lives.mark(name) for name in names]
    files = Lives(tmp_path / "lives").files()
    assert [[is_of(files[mark], name) for name in names] for mark in marks] == [
        [True, False, False],
        [False, True, False],
        [False, False, True],
    ]


def test_whoever_comes_at_the_same_time_writes_down_what_it_uses(tmp_path: Path) -> None:
    """Processes that meet a life at once may give it a mark each: every one of them is found afterwards."""
    together = threading.Barrier(8)

    def meet(_: int) -> str:
        together.wait(10)
        return Lives(tmp_path / "lives").mark("one")

    with ThreadPoolExecutor(8) as processes:
        marks = set(processes.map(meet, range(8)))
    assert "" not in marks
    assert set(Lives(tmp_path / "lives").files()) == marks


def test_a_life_that_cannot_be_written_down_has_no_mark(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is counted in it, which is said once; it has one as soon as it can be."""
    (tmp_path / "lives").touch()
    lives = Lives(tmp_path / "lives")
    assert [lives.mark("one"), lives.mark("one")] == ["", ""]
    assert len(caplog.records) == 1
    (tmp_path / "lives").unlink()
    assert lives.mark("one")


@given(counter=st.text(max_size=40).map("parallel:{}".format))
def test_a_life_has_a_counter_beside_every_other(counter: str) -> None:
    """It is one of the life's own, and lies where that one lies."""
    beside = counter_of("0123456789abcdef", counter)
    assert beside in counters_of("0123456789abcdef")
    assert place_of(beside) == place_of(counter)


def test_counters_of_two_lives_never_meet() -> None:
    """One for each place."""
    assert len({*counters_of("a"), *counters_of("b")}) == 128
    assert {place_of(counter) for counter in counters_of("a")} == set(range(64))
