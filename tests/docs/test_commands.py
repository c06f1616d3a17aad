"""The documents tell every command with every option, and every command line they show is one that can be typed."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex

import pytest

from router_extproc.cli import COMMANDS, _parser
from tests.docs.documents import Block, blocks, names, prose, read, sections

DOCUMENT = "docs/commands.md"


def options(command: str) -> set[str]:
    """Every spelling of every option of a command, those of its actions included."""
    parser = argparse.ArgumentParser(add_help=False)
    importlib.import_module(f"router_extproc.cli.{command}").add_arguments(parser)
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    parsers = [parser, *(each for action in actions for each in action.choices.values())]
    spellings = {spelling for each in parsers for action in each._actions for spelling in action.option_strings}
    return spellings - ({"-h", "--help"} if actions else set())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_told(command: str) -> None:
    """Each option stands in its command's section, and no option is told that does not exist."""
    text = prose(DOCUMENT).partition(f"## `{command}`\n")[2].partition("\n## ")[0]
    told = {word for name in names(text) for word in name.split() if word.startswith("-") and word != "-"}
    if command == "render":
        told -= {"-c"}
    assert told == options(command)


def test_the_readme_has_every_command() -> None:
    """The table of commands is complete and in the order of `--help`."""
    told = [names(row[0])[0].split()[-1] for row in sections("README.md")["Commands"].rows]
    assert told == list(COMMANDS)


def lines(block: Block) -> list[str]:
    """The command lines of ours that a block shows, continued lines joined, what the shell does with them left out."""
    text = block.text.replace("\\\n", " ")
    typed = [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]
    parts = [part.strip() for line in typed for part in re.split(r"&&|\||>|&\s*$|&\s*#", line)]
    return [part for part in parts if part.startswith("router-extproc")]


SHOWN = [(block, line) for block in blocks("console") for line in lines(block)]


@pytest.mark.parametrize(("block", "line"), SHOWN, ids=[f"{block.document}:{block.line}" for block, _ in SHOWN])
def test_every_line_shown_can_be_typed(block: Block, line: str) -> None:
    """The command line parser accepts what a document tells people to type."""
    words = shlex.split(line, comments=True)[1:]
    _parser(words).parse_args(words)


def test_command_lines_are_found() -> None:
    """The check above looks at something: the README alone shows several."""
    assert len([line for block, line in SHOWN if block.document == "README.md"]) >= 3


def test_inline_commands_exist() -> None:
    """A command that a sentence names exists."""
    for document in ("README.md", "docs/operations.md", "docs/troubleshooting.md", "docs/simulator.md", "docs/headers.md"):
        named = set(re.findall(r"`router-extproc ([a-z]+)", read(document)))
        assert named <= set(COMMANDS), document
