"""``router-extproc schema`` as users call it."""

from __future__ import annotations

from importlib import resources

import pytest

from router_extproc.cli import main


def test_it_prints_the_schema_that_the_package_carries(capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed can be written to a file and used by an editor as it is."""
    assert main(["schema"]) == 0
    carried = resources.files("router_extproc.config").joinpath("data", "router.schema.json").read_text(encoding="utf-8")
    assert capsys.readouterr().out == carried
