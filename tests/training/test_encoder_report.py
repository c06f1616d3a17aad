"""The shipped encoder keeps what it promises on intents from five examples."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.location import artefact_folder
from router_extproc.training.encoder_report import few_shot
from router_extproc.training.pipeline import Context
from router_extproc.training.route_examples import banking77, clinc150
from tests.training_data import data_folder_or_skip


@pytest.fixture(scope="module")
def encoder() -> StaticEncoder:
    return StaticEncoder.load(artefact_folder(os.environ))


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(data=data_folder_or_skip(), work=tmp_path, out=tmp_path, purpose="evaluation")


def test_clinc150_from_five_examples(encoder: StaticEncoder, context: Context) -> None:
    """At least 0.81 of CLINC150's held-out texts find their intent, and out of scope is told apart with an AUC of 0.93."""
    found = few_shot(clinc150(context), encoder.encode, context.random)
    assert found.accuracy >= 0.81
    assert found.out_of_scope >= 0.93


def test_banking77_from_five_examples(encoder: StaticEncoder, context: Context) -> None:
    """banking77, whose intents lie closer, stays above 0.70."""
    assert few_shot(banking77(context), encoder.encode, context.random).accuracy >= 0.70
