"""One condition inside another, checked against real requests."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from router_extproc.config.conditions import covers, is_unconditional
from router_extproc.config.when import Keywords, Range, When

FLAG = st.sampled_from([None, True, False])
PATTERN = st.sampled_from(["a", "ab", "abc", "a*", "ab*", "*", "b"])
PATH = PATTERN.map(lambda pattern: f"/v1/{pattern}")
BOUND = st.one_of(st.none(), st.integers(0, 4))


@st.composite
def ranges(draw: st.DrawFn) -> Range | None:
    low, high = draw(BOUND), draw(BOUND)
    assume(low is None or high is None or low <= high)
    return None if low is None and high is None else Range(at_least=low, at_most=high)


@st.composite
def keywords(draw: st.DrawFn) -> Keywords | None:
    lists = [draw(st.lists(st.sampled_from("xyz"), max_size=2, unique=True).map(tuple)) for _ in range(3)]
    return Keywords(any=lists[0], all=lists[1], none=lists[2]) if any(lists) else None


CONDITIONS = st.builds(
    When,
    route=st.lists(PATTERN, max_size=2).map(tuple),
    headers=st.dictionaries(st.sampled_from(["x", "y"]), PATTERN, max_size=2),
    path=st.one_of(st.none(), PATH),
    prompt_tokens=ranges(),
    code=FLAG,
    stream=FLAG,
    complexity=ranges(),
    task=st.lists(st.sampled_from(["code", "math"]), max_size=2).map(tuple),
    risk=st.lists(st.sampled_from(["medical", "none"]), max_size=2).map(tuple),
    keywords=keywords(),
)
REQUESTS = st.fixed_dictionaries(
    {
        "route": st.sampled_from(["a", "ab", "abc", "b", "auto"]),
        "headers": st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["a", "ab", "abc", "b"]), max_size=2),
        "path": st.sampled_from(["/v1/a", "/v1/ab", "/v1/abc", "/v1/abcd", "/v1/b"]),
        "tokens": st.integers(0, 5),
        "code": st.booleans(),
        "stream": st.booleans(),
        "complexity": st.none() | st.integers(0, 5),
        "task": st.sampled_from([None, "code", "math"]),
        "risk": st.sampled_from([None, "medical", "none"]),
        "words": st.none() | st.frozensets(st.sampled_from("xyz")),
    }
)


def matches(pattern: str, text: str) -> bool:
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def holds(when: When, request: dict[str, object]) -> bool:
    """What the schema says a condition means, as plainly as it can be written."""
    headers = request["headers"]
    assert isinstance(headers, dict)
    tokens = when.prompt_tokens or Range(at_least=0)
    return (
        any(matches(pattern, str(request["route"])) for pattern in when.route or ("auto",))
        and all(name in headers and matches(pattern, headers[name]) for name, pattern in when.headers.items())
        and (when.path is None or matches(when.path, str(request["path"])))
        and (tokens.at_least or 0) <= request["tokens"] <= (5 if tokens.at_most is None else tokens.at_most)
        and when.code in (None, request["code"])
        and when.stream in (None, request["stream"])
        and (when.complexity is None or within(when.complexity, request["complexity"]))
        and (not when.task or request["task"] in when.task)
        and (not when.risk or request["risk"] in when.risk)
        and (when.keywords is None or stand(when.keywords, request["words"]))
    )


def within(bounds: Range, figure: object) -> bool:
    return isinstance(figure, int) and (bounds.at_least or 0) <= figure <= (5 if bounds.at_most is None else bounds.at_most)


def stand(keywords: Keywords, words: object) -> bool:
    return (
        isinstance(words, frozenset)
        and (not keywords.any or not words.isdisjoint(keywords.any))
        and words.issuperset(keywords.all)
        and words.isdisjoint(keywords.none)
    )


@given(CONDITIONS, CONDITIONS, st.lists(REQUESTS, min_size=10, max_size=10))
def test_what_covers_holds_wherever_the_covered_one_does(wide: When, narrow: When, requests: list[dict[str, object]]) -> None:
    """No request that the narrow condition matches escapes a condition that is said to cover it."""
    if covers(wide, narrow):
        assert all(holds(wide, request) for request in requests if holds(narrow, request))


@given(CONDITIONS)
def test_every_condition_covers_itself(when: When) -> None:
    """The same condition twice is always found."""
    assert covers(when, when)


def test_a_condition_on_routes_alone_is_unconditional() -> None:
    """Unconditional means: every request of the routes it names."""
    assert is_unconditional(When())
    assert is_unconditional(When(route=("a", "b*")))
    assert not is_unconditional(When(code=True))
    assert not is_unconditional(When(headers={"x": "a"}))
