"""``router-extproc schema`` as users call it."""

from __future__ import annotations

from importlib import resources

import pytest

from router_extproc.cli import main


@pytest.mark.parametrize(
    ("words", "package", "file"),
    [
        ([], "router_extproc.config", "router.schema.json"),
        (["router"], "router_extproc.config", "router.schema.json"),
        (["decision"], "router_extproc.observer", "decision.schema.json"),
    ],
)
def test_it_prints_the_schema_that_the_package_carries(
    words: list[str], package: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed can be written to a file and used by an editor or a log reader as it is."""
    assert main(["schema", *words]) == 0
    carried = resources.files(package).joinpath("data", file).read_text(encoding="utf-8")
    assert capsys.readouterr().out == carried


def test_another_document_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is no schema of ours is refused with those that are, and nothing is printed."""
    with pytest.raises(SystemExit) as ended:
        main(["schema", "envoy"])
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "'router'" in printed.err
    assert "'decision'" in printed.err
