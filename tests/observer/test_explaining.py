"""The router that explains: of the newest configuration, with the classifier loaded once and only when it is needed."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from router_extproc.analysis.classifier import NOTHING_LEARNED, Classifier
from router_extproc.observer.explaining import CurrentRouter
from router_extproc.registry.snapshot import Registry


def test_the_classifier_is_loaded_for_the_first_explanation_and_kept() -> None:
    """Starting costs nothing; another configuration makes another router with the same classifier."""
    loaded: list[Classifier] = []

    def load() -> Classifier:
        loaded.append(Classifier())
        return loaded[-1]

    current = CurrentRouter(load)
    current.know(Registry(revision="first"))
    assert not loaded
    first = current()
    assert current() is first
    current.know(Registry(revision="second"))
    second = current()
    assert (first.registry.revision, second.registry.revision, len(loaded)) == ("first", "second", 1)
    assert second.analyser.classifier is first.analyser.classifier is loaded[0]


def test_questions_at_once_share_one_router() -> None:
    """Threads that ask while the first router is made get that one."""
    current = CurrentRouter(Classifier)
    with ThreadPoolExecutor(8) as threads:
        routers = {id(router) for router in threads.map(lambda _: current(), range(64))}
    assert len(routers) == 1


def test_without_its_files_the_rest_is_explained(caplog: pytest.LogCaptureFixture) -> None:
    """A classifier that cannot be loaded is reported once, and decisions are those of a worker without one."""

    def load() -> Classifier:
        raise OSError("no such file")

    current = CurrentRouter(load)
    with caplog.at_level(logging.ERROR):
        assert current().analyser.classifier is NOTHING_LEARNED
        current.know(Registry(revision="second"))
        assert current().registry.revision == "second"
    assert len(caplog.records) == 1
