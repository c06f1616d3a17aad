"""Reading files and foreign bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from router_extproc.config import load
from router_extproc.config.lint import lint
from router_extproc.config.load import load_config, load_document, parse_config, parse_document
from router_extproc.config.schema import RouterConfig
from router_extproc.errors import ConfigurationError, Problem
from router_extproc.registry.catalogue import load_catalogue
from router_extproc.registry.compile import compile_registry
from router_extproc.registry.lint import lint_registry
from router_extproc.registry.snapshot import encode_registry

MINIMAL = """\
providers:
  openai:
    base_url: https://api.openai.com/v1
    models: [gpt-4o-mini, gpt-4o]
"""


def only_problem(error: ConfigurationError) -> str:
    (problem,) = error.problems
    return str(problem)


def test_a_missing_file_is_named() -> None:
    """A file that does not exist is one problem that names it."""
    with pytest.raises(ConfigurationError) as caught:
        load_config("/nowhere/router.yaml")
    reason = "cannot be read: No such file or directory (name a file that exists and is readable)"
    assert only_problem(caught.value) == f"/nowhere/router.yaml:1:1: error: file: {reason}"


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """A directory in the file's place is one problem."""
    with pytest.raises(ConfigurationError) as caught:
        load_config(tmp_path)
    assert "cannot be read: Is a directory" in only_problem(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """A file without read permission is one problem."""
    file = tmp_path / "router.yaml"
    file.write_text(MINIMAL)
    file.chmod(0)
    with pytest.raises(ConfigurationError) as caught:
        load_config(file)
    assert "cannot be read: Permission denied" in only_problem(caught.value)


def test_an_endless_file_is_not_read_to_its_end() -> None:
    """A device that never ends is refused at the size limit."""
    with pytest.raises(ConfigurationError) as caught:
        load_config("/dev/zero")
    assert only_problem(caught.value) == f"/dev/zero:1:1: error: file: larger than {load.MAX_FILE_BYTES >> 20} MiB"


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    """A file that an editor began with a byte order mark is read like any other."""
    file = tmp_path / "router.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load_config(file).providers["openai"].models == ("gpt-4o-mini", "gpt-4o")


def test_all_problems_come_in_file_order() -> None:
    """Problems of every kind, from YAML to references, are reported together and from the top of the file down."""
    text = MINIMAL + "    region: 4\nlistener: {port: 0}\nlistener: {}\nworkers: {count: x}\n"
    with pytest.raises(ConfigurationError) as caught:
        parse_config(text)
    assert [(problem.line, problem.key, problem.code) for problem in caught.value.problems] == [
        (5, "providers.openai.region", "wrong_type"),
        (6, "listener.port", "out_of_range"),
        (7, "listener", "duplicate_key"),
        (8, "workers.count", "wrong_type"),
    ]


def test_a_long_key_is_not_repeated_whole() -> None:
    """A megabyte where a name belongs makes a short message."""
    with pytest.raises(ConfigurationError) as caught:
        parse_config(MINIMAL + "x" * 1_000_000 + ": 1\n")
    assert len(str(caught.value)) < 400


def test_equal_files_are_equal_configurations() -> None:
    """A configuration is a value: read twice, it compares equal, so that a reload can see that nothing changed."""
    assert parse_config(MINIMAL) == parse_config(MINIMAL)


# What a user's file may hold at any place: the schema's own words, near misses, and everything else.
OTHER_KEYS = """
    openai base_url models credentials env file key deployments provider targets model tier deployment weight when then name
    route headers prompt_tokens at_least auto gpt-4o timeouts deadline prices input output strategy min_tier after rate_limited
    min_quality tls certificate plain <<
"""
KEYS = sorted({*RouterConfig.model_fields, *OTHER_KEYS.split()})
WORDS = """
    gpt-4o openai premium auto https://api.openai.com/v1 30s 32MiB cheap * gpt-* OPENAI_API_KEY 127.0.0.1 0.0.0.0
    /v1/chat/completions 1e999 0x7f 1:30 ~ true
"""
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=12),
    st.sampled_from([*WORDS.split(), "9" * 5000]),
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=6)), inner, max_size=5)
    ),
    max_leaves=25,
)


def examine(text: str) -> None:
    """All that ``validate`` does; only ``ConfigurationError`` may come out of it, with problems that have a place."""
    problems: tuple[Problem, ...] = ()
    try:
        document = parse_document(text)
    except ConfigurationError as error:
        problems = error.problems
    else:
        registry = compile_registry(document.config, load_catalogue())
        assert encode_registry(registry)
        problems = (*lint(document, {}), *lint_registry(document, registry))
    for problem in problems:
        assert 1 <= problem.line <= text.count("\n") + 2
        assert problem.column >= 1
        assert problem.message
        assert "\n" not in str(problem)


@given(DOCUMENTS)
@settings(max_examples=300)
def test_no_document_crashes_the_reader(document: object) -> None:
    """Whatever YAML document is given, it is accepted or refused with problems that have a place in it."""
    examine(yaml.safe_dump(document, allow_unicode=True, sort_keys=False))


@given(st.text(max_size=200))
@settings(max_examples=300)
def test_no_text_crashes_the_reader(text: str) -> None:
    """Text that is no YAML at all is refused, never a crash."""
    examine(text)


GOOD = "".join(file.read_text(encoding="utf-8") for file in [Path(__file__).parent / "good" / "everything.yaml"])


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 3), st.sampled_from(list("\t :-[]{}&*!|>'\"#,\n01ax"))),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=300)
def test_no_damaged_file_crashes_the_reader(damages: list[tuple[float, int, str]]) -> None:
    """A good file with characters lost and others in their place is accepted or refused, never a crash."""
    text = GOOD
    for where, lost, put in damages:
        place = int(where * len(text))
        text = text[:place] + put + text[place + lost :]
    examine(text)


def test_the_place_of_every_part_is_known(tmp_path: Path) -> None:
    """The document knows where each key and value stands; what is missing stands where its parent does."""
    file = tmp_path / "router.yaml"
    file.write_text(MINIMAL)
    source = load_document(file).source
    assert (source.mark(("providers", "openai", "base_url")).line, source.mark(("providers", "openai", "base_url")).column) == (
        3,
        15,
    )
    assert (
        source.mark(("providers", "openai", "models", 1)).line,
        source.mark(("providers", "openai", "models", 1)).column,
    ) == (4, 27)
    assert source.mark(("providers", "openai", "region")).line == 2
    assert source.mark(("routes", "auto")).line == 1
