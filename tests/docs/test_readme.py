"""The README is enough for a stranger, and everything it shows is what happens."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest

from router_extproc.cli import main
from router_extproc.cli.up import DEMO_DEPLOYMENTS, _greet
from router_extproc.config.zero import demo_config
from tests.docs.documents import ROOT, blocks, names, read, sections

README = ("README.md",)
FIRST_FILE = next(block.text for block in blocks("yaml", documents=README))


def shown(start: str) -> list[str]:
    """The lines that a console block shows as the output of the command that starts so."""
    for block in blocks("console", documents=README):
        lines = block.text.splitlines()
        for index, line in enumerate(lines):
            if line.startswith(f"$ {start}"):
                output = lines[index + 1 :]
                end = next((place for place, later in enumerate(output) if later.startswith("$ ")), len(output))
                return [text.strip() for text in output[:end] if text.strip() != "…"]
    raise AssertionError(start)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the README's first file, and the keys that it names."""
    (tmp_path / "router.yaml").write_text(FIRST_FILE, encoding="utf-8")
    for variable in re.findall(r"env: (\w+)", FIRST_FILE):
        monkeypatch.setenv(variable, "a-key")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_two_commands_are_on_the_first_screen_and_exist() -> None:
    """A stranger finds `make run` and `make test` before scrolling far, and both are verbs of the Makefile."""
    beginning = "\n".join(read("README.md").splitlines()[:45])
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for verb in ("run", "test"):
        assert f"make {verb}" in beginning
        assert re.search(rf"^{verb}:", makefile, flags=re.MULTILINE)
    assert "pip install 'router-extproc[envoy]'" in beginning


def test_what_up_prints_is_what_the_readme_shows(capsys: pytest.CaptureFixture[str]) -> None:
    """The output under the first command is the demo's greeting, word for word."""
    _greet(demo_config(dict.fromkeys(DEMO_DEPLOYMENTS, 1)), is_demo=True)
    assert shown("pip install") == [line.strip() for line in capsys.readouterr().out.splitlines()]


def test_the_first_file_is_short() -> None:
    """A first configuration fits into fifteen lines, and one more provider into four."""
    assert len(FIRST_FILE.splitlines()) <= 15
    fragment = next(block.text for block in blocks("yaml", documents=README) if block.text.startswith(" "))
    assert len(fragment.splitlines()) == 4


def test_the_first_file_has_nothing_to_complain_about(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`validate` prints what the README shows: no warning, and these figures."""
    assert main(["validate", "--strict"]) == 0
    printed = re.sub(r"revision \w+", "revision …", capsys.readouterr().out.strip())
    assert [re.sub(r"revision \w+", "revision …", line) for line in shown("router-extproc validate")] == [printed]


def test_the_chain_shown_is_the_chain(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`explain` prints the lines that the README shows, in this order."""
    assert main(["explain", "-m", "Hello", "--model", "support"]) == 0
    printed = [line.strip() for line in capsys.readouterr().out.splitlines()]
    start = printed.index("Chain")
    lines = shown("router-extproc explain")
    assert printed[start : start + len(lines)] == lines


def test_the_library_example_runs(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The Python example of the library works with the first file and prints the chain's first place."""
    example = next(block.text for block in blocks("python", documents=README) if "import Router" in block.text)
    exec(compile(example, "README.md", "exec"), {})  # noqa: S102 - our own example
    assert capsys.readouterr().out == "openai/gpt-5.4\n"


@pytest.mark.parametrize("block", blocks("python", documents=README), ids=lambda block: f"line {block.line}")
def test_every_python_example_compiles(block: object) -> None:
    """No example has a slip of syntax."""
    compile(block.text, "README.md", "exec")  # type: ignore[attr-defined]


def test_the_four_files_to_read_first_are_small_and_there() -> None:
    """The way into the code begins with four files, each within the bounds that we set ourselves."""
    listed = re.findall(r"^\d\. \[`([^`]+)`\]", read("README.md"), flags=re.MULTILINE)
    assert len(listed) == 4
    for path in listed:
        assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) < 450, path


def test_the_readme_s_headers_are_those_of_the_document() -> None:
    """The short table of response headers leaves out none that every answer may have."""
    told = {name for row in sections("README.md")["Response headers"].rows for name in names(row[0])}
    whole = {name for row in sections("docs/headers.md")["Response headers"].rows for name in names(row[0])}
    assert told == whole - {"x-router-cause"}


def test_the_changelog_knows_the_version() -> None:
    """Whoever installs a version finds what it brought."""
    version = importlib.metadata.version("router-extproc")
    assert re.search(rf"^## .*{re.escape(version)}", read("CHANGELOG.md"), flags=re.MULTILINE)
