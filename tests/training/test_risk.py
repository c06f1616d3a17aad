"""Training of the risk head: calibration, thresholds and the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from router_extproc.analysis.risk import NONE, RISKS
from router_extproc.training import risk_report
from router_extproc.training.examples import Example
from router_extproc.training.linear_fit import Values
from router_extproc.training.pipeline import Context
from router_extproc.training.risk import FALSE_ALARMS_EXAM, FALSE_ALARMS_MARKED, FALSE_ALARMS_PEOPLE, Decision, HeldOut, decide
from router_extproc.training.risk_texts import EXAM

_PEOPLE = "template:none"


def _held_out(random: np.random.Generator, signal: float) -> HeldOut:
    """Exam questions of three domains and none, requests of all; evidence as good as the signal is strong."""
    examples: list[Example] = []
    for source, domains in ((EXAM, (*RISKS[:3], NONE, NONE)), (_PEOPLE, (*RISKS, NONE, NONE, NONE))):
        for number in range(1600):
            domain = domains[number % len(domains)]
            examples.append(Example(f"{source} {number}", (f"{domain}:x",), source, f"{source} {number}"))
    truth = np.array([[example.labels[0] == f"{risk}:x" for risk in RISKS] for example in examples])
    evidence = signal * (truth - 0.5) + random.normal(size=truth.shape)
    return HeldOut(examples, evidence.astype(np.float32))


def test_false_alarms_keep_to_their_bounds() -> None:
    """No more harmless texts are named than is allowed of exam questions or of requests, but for the even chance."""
    held_out = _held_out(np.random.default_rng(1), 3.5)
    decision = decide(held_out)
    probabilities = decision.probabilities(held_out.evidence)
    assert (decision.thresholds <= 0.5).all()
    below = np.flatnonzero(decision.thresholds < 0.5).tolist()
    assert below
    for place in below:
        risk = RISKS[place]
        others = held_out.domains != risk
        shares = {
            source: (probabilities[others & (held_out.sources == source), place] > decision.thresholds[place]).mean()
            for source in (EXAM, _PEOPLE)
        }
        kept = shares[_PEOPLE] <= (FALSE_ALARMS_PEOPLE if risk in RISKS[:3] else FALSE_ALARMS_MARKED) + 0.002
        assert kept or (risk in RISKS[:3] and shares[EXAM] <= FALSE_ALARMS_EXAM + 0.002)


def test_strong_evidence_needs_no_low_threshold() -> None:
    """Where nearly all of a domain is found anyway, nothing is gained by naming doubtful texts."""
    held_out = _held_out(np.random.default_rng(2), 12.0)
    names = decide(held_out).names(held_out.evidence)
    assert (names == held_out.domains).mean() > 0.97


def test_the_domain_furthest_above_its_threshold_is_named() -> None:
    """Thresholds differ, so probabilities alone do not decide; below all of them there is no risk."""
    decision = Decision(np.ones(5, np.float32), np.zeros(5, np.float32), np.array([0.5, 0.1, 0.5, 0.5, 0.5], np.float32))

    def odds(*probabilities: float) -> Values:
        shares = np.array(probabilities, np.float32)
        return np.asarray(np.log(shares / (1 - shares)), np.float32)[None]

    assert decision.names(odds(0.6, 0.3, 0.01, 0.01, 0.01)).tolist() == ["legal"]
    assert decision.names(odds(0.6, 0.05, 0.01, 0.01, 0.01)).tolist() == ["medical"]
    assert decision.names(odds(0.4, 0.05, 0.01, 0.01, 0.01)).tolist() == [NONE]


def test_the_report_says_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With evidence beyond doubt, recall and accuracy are near 1, under the names that targets are set on."""
    held_out = _held_out(np.random.default_rng(3), 16.0)
    monkeypatch.setattr(risk_report, "measure_evidence", lambda *_: held_out)
    section = risk_report.report(Context(data=tmp_path, work=tmp_path, out=tmp_path), tmp_path)
    for name in ("risk.heldout.accuracy", "risk.heldout.recall.medical", "risk.heldout.recall.financial"):
        assert section.figures[name] > 0.96
    assert "risk.people.recall.self_harm" in section.figures
    assert "risk.heldout.recall.self_harm" not in section.figures
    assert "| medical |" in section.markdown()


def test_thresholds_of_a_fold_come_from_the_others() -> None:
    """A fold whose evidence is all wrong spoils the others' thresholds, not its own."""
    held_out = _held_out(np.random.default_rng(4), 8.0)
    folds = np.array([example.fold for example in held_out.examples])
    spoilt = held_out.evidence.copy()
    spoilt[folds == 0] *= -1
    _, names = risk_report.decided(HeldOut(held_out.examples, spoilt))
    clean = HeldOut([example for example in held_out.examples if example.fold], held_out.evidence[folds != 0])
    expected = decide(clean).names(spoilt[folds == 0])
    assert names[folds == 0].tolist() == expected.tolist()
