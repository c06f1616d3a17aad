"""Claims of probes do not pile up."""

from __future__ import annotations

import os
from pathlib import Path

from router_extproc.observer.health import PROBE_SECONDS
from router_extproc.observer.probe_claims import CLAIM_SECONDS, forget_claims


def test_only_old_claims_are_deleted(tmp_path: Path) -> None:
    """A claim stays as long as some decider may still see its probe."""
    for name, age in (("old", CLAIM_SECONDS + 1), ("young", CLAIM_SECONDS - 1)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (10_000 - age, 10_000 - age))
    forget_claims(tmp_path, 10_000)
    assert [claim.name for claim in tmp_path.iterdir()] == ["young"]
    assert CLAIM_SECONDS > 10 * PROBE_SECONDS


def test_no_folder_is_no_claims(tmp_path: Path) -> None:
    """Before the first probe there may be no folder."""
    forget_claims(tmp_path / "probes", 10_000)
