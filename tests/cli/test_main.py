"""``router-extproc`` itself: which commands there are, what it prints where, and with which exit code it ends."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from router_extproc.cli import COMMANDS, main
from router_extproc.cli import schema as schema_command
from router_extproc.errors import StartError

PROGRAM = [sys.executable, "-m", "router_extproc"]


def exit_code_of(words: list[str]) -> object:
    """How a command line ends that argparse does not let through."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code


@pytest.mark.parametrize("words", [["nonsense"], [], ["validate", "--nonsense"], ["--nonsense"], ["up", "--demo", "--or-demo"]])
def test_wrong_use_ends_with_2_and_says_so_on_standard_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be understood is refused with the usage, and standard output stays clean for whoever reads it."""
    assert exit_code_of(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("usage: router-extproc")


def test_an_unknown_command_is_told_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever mistypes a command sees all that exist."""
    exit_code_of(["valdiate"])
    complaint = capsys.readouterr().err
    assert all(f"'{name}'" in complaint for name in COMMANDS)


def test_an_abbreviated_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A script that relied on an abbreviation would break with the next option that begins alike."""
    assert exit_code_of(["validate", "--stri"]) == 2
    assert "--stri" in capsys.readouterr().err


def test_help_names_every_command_with_its_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    """The first help a newcomer reads lists everything there is."""
    assert exit_code_of(["--help"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    for name, purpose in COMMANDS.items():
        assert any(line.startswith(name) and line.endswith(purpose) for line in lines), name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_each_of_its_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command can be loaded, and its help says what every one of its options is for."""
    assert exit_code_of([name, "--help"]) == 0
    assert f"router-extproc {name}" in capsys.readouterr().out
    module = importlib.import_module(f"router_extproc.cli.{name}")
    assert callable(module.run)
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    assert [action.dest for action in parser._actions if not action.help] == []


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` says what is installed."""
    assert exit_code_of(["--version"]) == 0
    assert capsys.readouterr().out == f"router-extproc {importlib.metadata.version('router-extproc')}\n"


def test_an_error_of_ours_is_one_line_on_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a user can put right is told without a traceback, and the exit code is 1."""

    def refuse(_: object) -> int:
        raise StartError("the port is taken")

    monkeypatch.setattr(schema_command, "run", refuse)
    assert main(["schema"]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "router-extproc: the port is taken\n")


def test_a_wrong_file_is_told_line_by_line_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A command that needs a good file says what is wrong with a bad one, as `validate` would."""
    file = tmp_path / "router.yaml"
    file.write_text("providers: {openai: {base_ulr: 'https://api.openai.com/v1'}}\n")
    assert main(["explain", "-m", "Hello", "--config", str(file)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert lines
    assert all(line.startswith(f"{file}:1:") and ": error: " in line for line in lines)


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted command ends as a shell expects it, without a traceback."""

    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(schema_command, "run", interrupt)
    assert main(["schema"]) == 130


def test_a_reader_who_has_enough_is_no_error() -> None:
    """`router-extproc … | head` ends quietly once nobody reads any more."""
    with subprocess.Popen([*PROGRAM, "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_help_loads_no_command() -> None:
    """Asking for help does not pay for the schema, gRPC or a web framework."""
    program = "import sys; from router_extproc.cli import _parser; _parser([]); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "argparse" in loaded
    assert not {"pydantic", "yaml", "grpc", "uvicorn"} & set(loaded)
