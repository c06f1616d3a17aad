"""Bodies that say a thing twice are refused where that would deceive."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.errors import BadRequestError
from router_extproc.limits.unambiguous import NAMES, refuse_ambiguous


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"dear","messages":[],"model":"cheap"}',
        b'{"model":"cheap","Model":"dear"}',
        b'{"MODEL":"dear"}',
        b'{"model":"cheap","mod\\u0065l":"dear"}',
        b'{"model":"cheap","\\u004dodel":"dear"}',
        b'{"max_tokens":4000,"max_tokens":1}',
        b'{"max_tokens":1,"Max_Tokens":4000}',
        '{"max_tokens":1,"max_to\u212aens":4000}'.encode(),
        '{"me\u017fsages":[]}'.encode(),
        b'{"max_to\\u212Aens":4000}',
        b'{"n":100,"x":{"n":1},"n":1}',
        b'{"stream_options":null,"stream_options":{"include_usage":true}}',
        b'{"background":true,"background":false}',
        b'{"previous_response_id":"resp_1","previous_response_id":null}',
        b'{"conversation":"conv_1","conversation":null}',
        b'{"Tools":[{"type":"web_search"}]}',
        b'{"models":["dear"],"models":null}',
        b'{"search_parameters":{"mode":"on"},"search_parameters":null}',
        b'{"web_search_options":{},"web_search_options":null}',
    ],
)
def test_a_name_that_matters_stands_there_once(body: bytes) -> None:
    """Twice, in another case or in letters that some readers take for it, a name is refused."""
    with pytest.raises(BadRequestError) as caught:
        refuse_ambiguous(body)
    assert caught.value.code == "ambiguous_member"
    assert caught.value.param in NAMES


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"model":"m","messages":[{"role":"user","content":"\\"model\\" Model \\u0041"}]}',
        b'{"model":"m","tools":[{"function":{"parameters":{"properties":{"model":{},"Model":{},"n":{}}}}}]}',
        b'{"model":"m","metadata":{"model":"x","max_tokens":"9"},"metadata":{}}',
        b'["model","model"]'[:0],
    ],
)
def test_others_pass(body: bytes) -> None:
    """The same names deeper down or in text, and repeated names that nothing is read from, are nobody's concern."""
    refuse_ambiguous(body)


@given(
    st.dictionaries(
        st.sampled_from(sorted(NAMES)) | st.text(max_size=3).filter(lambda name: name.casefold() not in NAMES), st.integers()
    )
)
def test_what_a_library_writes_passes(members: dict[str, int]) -> None:
    """Whatever members a dictionary has, its JSON is unambiguous."""
    refuse_ambiguous(json.dumps(members).encode())
    refuse_ambiguous(json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode(errors="replace"))


@given(
    st.lists(st.tuples(st.sampled_from(["model", "n", "x", "mod\\u0065l"]), st.text(max_size=9)), max_size=6),
    st.sampled_from(["", " ", "\n  "]),
)
def test_whatever_the_spacing_repeated_names_are_found(pairs: list[tuple[str, str]], space: str) -> None:
    """A body is refused exactly when one of the names that matter stands in it twice, however it is laid out."""
    body = "{" + ",".join(f'{space}"{name}"{space}:{space}{json.dumps(value)}' for name, value in pairs) + space + "}"
    meant = [name.replace("\\u0065", "e") for name, _ in pairs]
    if any(meant.count(name) > 1 for name in ("model", "n")):
        with pytest.raises(BadRequestError):
            refuse_ambiguous(body.encode())
    else:
        refuse_ambiguous(body.encode())


written = st.sampled_from(
    ["model", "Model", "n", "N", "max_tokens", "max_to\u212aens", "mod\\u0065l", "other", "x", "\u017ftream"]
)


@given(
    st.lists(st.tuples(written, st.sampled_from(["", " ", "\t\n"]), st.sampled_from(["1", '"model"', '{"model": 1}', '["n"]'])))
)
def test_no_way_to_write_a_member_is_overlooked(members: list[tuple[str, str, str]]) -> None:
    """A body is refused exactly where its top level, read member by member, has a name that matters twice or otherwise."""
    body = "{" + ",".join(f'"{name}"{blank}:{blank}{value}' for name, blank, value in members) + "}"
    names = [name.casefold() for name, _ in json.loads(body, object_pairs_hook=list)]
    found = [name for name in names if name in NAMES]
    is_otherwise = any(name.casefold() in NAMES and name not in NAMES for name, _ in json.loads(body, object_pairs_hook=list))
    if is_otherwise or len(set(found)) < len(found):
        with pytest.raises(BadRequestError):
            refuse_ambiguous(body.encode())
    else:
        refuse_ambiguous(body.encode())
