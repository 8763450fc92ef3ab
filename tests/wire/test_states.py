"""The JSON of awareness states: what passes here, every browser reads; what is written here, too."""

from __future__ import annotations

import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab.errors import BadMessage
from collab.wire.states import parse_state, stamped
from collab.wire.vet import MAX_DEPTH
from tests.support.node import node_binary

USER = {"name": "Ana \u00e9\U0001f600", "id": 7}

STRANGE = [
    *(
        "",
        "{",
        "nul",
        "NaN",
        "[NaN]",
        '{"x":NaN}',
        "Infinity",
        '{"x":-Infinity}',
        "-NaN",
        "{'a':1}",
        '{"a":1,}',
        "[1,]",
    ),
    *("\ufeff{}", '"\n"', '"\x00"', "01", "1.", ".5", "+1", "0x1", "1e", "{} {}", "undefined", "True", "\x0b{}"),
    *(
        '"\\ud800"',
        '{"\\udfff":"\\ud83d"}',
        '"\\x41"',
        '"\\u12"',
        "// c\n1",
        "/* */{}",
        "1_000",
        "\u0661",
        "\u00a0{}",
        "{}\u2028",
    ),
    *("9" * 400, '{"n":' + "9" * 4_000 + "}", "1" * 5_000, "1e400", '{"n":-1e400}', "1e-400", "-0", '{"a":1,"a":2}'),
    *(
        '{"user":1,"user":{"name":"Boss"}}',
        '{"__proto__":{"user":1}}',
        '{"toJSON":1}',
        '{"constructor":null}',
        "[]",
        "0",
    ),
    *("[" * MAX_DEPTH + "]" * MAX_DEPTH, "[" * 10_000 + "]" * 10_000, '{"a":' * 10_000 + "1" + "}" * 10_000),
    *('{"a":' * (MAX_DEPTH - 1) + "1" + "}" * (MAX_DEPTH - 1), "[" * 100_000, json.dumps("[" * 5_000)),
]


def taken(text: str) -> list[str]:
    """What others are told when a client says `text`: as it is, and stamped; nothing when it is refused."""
    try:
        parse_state(text)
    except BadMessage:
        return []
    return [text, stamped(text, USER)]


def in_a_browser(texts: list[str]) -> list[str | None]:
    """What JSON.stringify(JSON.parse(...)) makes of each, None where it throws; by the real thing."""
    program = """
        let all = ""
        process.stdin.on("data", part => all += part).on("end", () => {
            const answers = JSON.parse(all).map(text => {
                try { return JSON.stringify(JSON.parse(text)) } catch { return null }
            })
            process.stdout.write(JSON.stringify(answers))
        })"""
    done = subprocess.run(
        [node_binary(), "-e", program], input=json.dumps(texts), capture_output=True, text=True, check=True, timeout=60
    )
    answers: list[str | None] = json.loads(done.stdout)
    return answers


def test_f20_no_browser_hears_what_it_cannot_read(figure):
    told = [state for text in STRANGE for state in taken(text)]
    answers = in_a_browser(told)
    assert len(told) > 30 and None not in answers, [told[n][:60] for n, answer in enumerate(answers) if answer is None]
    figure(
        f"F20: {len(STRANGE)} strange states, {len(told) // 2} taken in, errors of JSON.parse: {answers.count(None)}"
    )
    for state, answer in zip(told[1::2], answers[1::2], strict=True):
        if answer is not None and state.startswith("{"):
            user = json.loads(answer)["user"]
            assert {key: user[key] for key in USER} == USER, "and it is stamped as a browser reads it"


def test_f20_what_no_browser_reads_is_refused():
    """The other way round: nothing passes only because Python is more generous."""
    answers = in_a_browser(STRANGE)
    assert not [text[:60] for text, answer in zip(STRANGE, answers, strict=True) if answer is None and taken(text)]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


@given(st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=5))
def test_stamping_changes_the_user_alone(state):
    written = json.loads(stamped(json.dumps(state), USER))
    own = state.get("user")
    assert written == state | {"user": (own if isinstance(own, dict) else {}) | USER}


@pytest.mark.parametrize("text", ["null", " null", "null\n", "\tnull "])
def test_null_is_gone(text):
    assert parse_state(text) is None


def test_numbers_beyond_all_bounds_are_written_as_browsers_write_them():
    assert json.loads(stamped('{"a":1e400,"b":[-1e999],"c":1.5}', {})) == {"a": None, "b": [None], "c": 1.5, "user": {}}


def test_half_a_character_stays_half_a_character():
    assert json.loads(stamped('{"a":"\\ud800"}', {})) == {"a": "\ud800", "user": {}}
    stamped('{"a":"\\ud800"}', {}).encode()
