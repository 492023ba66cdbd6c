"""Names to objects: what is accepted, and the sentence for what is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise import spec
from likewise.spec import SpecError, bind, find, parse

VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.integers())
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda n: n not in {"inf", "nan"} and not __import__("keyword").iskeyword(n)
)


@given(NAMES, st.dictionaries(NAMES, VALUES, max_size=4))
def test_what_is_written_is_what_is_read(name, settings):
    text = f"{name}({', '.join(f'{k}={v!r}' for k, v in settings.items() if v not in (float('inf'), -float('inf')))})"
    expected = {k: v for k, v in settings.items() if v not in (float("inf"), -float("inf"))}
    assert parse(text) == (name, expected)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_in_one_sentence(text):
    said = ""
    try:
        assert isinstance(parse(text)[1], dict)
    except SpecError as error:
        said = str(error).replace(repr(text), "")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a name"),
        ("triplet(0.2)", "write every argument by name"),
        ("triplet(**{})", "write every argument by name"),
        ("triplet(margin=0.2", "does not read as"),
        ("triplet(margin=open('x'))", "values are Python literals"),
        ("triplet(margin=1)(2)", "write every argument by name"),
        ("two words", "is not a name"),
        (3, "expected a name"),
    ],
)
def test_what_is_not_a_name(text, said):
    with pytest.raises(SpecError, match=said):
        parse(text)


def test_a_near_name_is_offered():
    with pytest.raises(SpecError, match="no loss named 'tripplet'; did you mean triplet"):
        find("loss", "tripplet")
    with pytest.raises(SpecError, match="loss triplet takes no 'margn'; did you mean margin"):
        bind("loss", "triplet(margn=0.1)")
    with pytest.raises(SpecError, match="no kind of thing named 'los'; did you mean loss"):
        spec.names("los")


def test_dash_and_underscore_are_the_same():
    assert find("data", "fashion-mnist") is find("data", "fashion_mnist")


def test_a_name_outside_the_package():
    assert bind("loss", "math:floor")(2.5) == 2
    with pytest.raises(SpecError, match="cannot import 'no_such_package'"):
        bind("loss", "no_such_package:focal")
    with pytest.raises(SpecError, match="'math' has no 'focal'"):
        bind("loss", "math:focal")


def test_bound_keywords_arrive():
    assert bind("schedule", "step(steps=2, factor=0.5)")(0.75) == 0.5


@pytest.mark.parametrize("kind", spec.HOMES)
def test_every_member_is_found_by_its_name_and_says_what_it_is(kind):
    for name in spec.names(kind):
        fn = find(kind, name)
        assert callable(fn), name
        assert (fn.__doc__ or "").strip(), f"{kind} {name} has no docstring"
