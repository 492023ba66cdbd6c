"""URLs of galleries in PostgreSQL: what they say, and that a password is never said."""

import struct
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.gallery.address import parse, without_password

SECRET = "hunter2"
RIGHT = [
    ("postgresql://ann@host/birds?gallery=g", "postgresql://ann@host/birds?gallery=g"),
    (f"postgres://ann:{SECRET}@host:6543/birds?gallery=g", "postgresql://ann@host:6543/birds?gallery=g"),
    (f"POSTGRESQL://ann:{SECRET}@[::1]:5/b?gallery=g_1-A", "postgresql://ann@[::1]:5/b?gallery=g_1-A"),
    ("postgresql:///birds?gallery=g&host=/var/run", "postgresql:///birds?host=/var/run&gallery=g"),
    (f"postgresql://a%40b:{SECRET}@host/d%2Fb?gallery=g", "postgresql://a%40b@host/d%2Fb?gallery=g"),
    ("postgresql://host?gallery=g&sslmode=require", "postgresql://host/?gallery=g"),
    ("postgresql:///?gallery=g&service=mine", "postgresql:///?service=mine&gallery=g"),
    ("postgresql:///?gallery=g", "postgresql:///?gallery=g"),
]
WRONG = [
    (f"postgresql://ann:{SECRET}@host/birds", "the URL names no gallery"),
    (f"postgresql://ann:{SECRET}@host/birds?gallery=a b", "by other signs than A-Z"),
    (f"postgresql://ann:{SECRET}@host/birds?gallery=../x", "by other signs than A-Z"),
    (f"postgresql://ann:{SECRET}@host/birds?gallery=" + "a" * 49, "48 at most"),
    (f'postgresql://ann:{SECRET}@host/birds?gallery=x";drop', "by other signs than A-Z"),
    (f"postgresql://ann@host/birds?gallery=g&password={SECRET}", "a password stands behind the user"),
    (f"postgresql://ann@host/birds?gallery=g&{SECRET * 5}=1", "takes no 'a setting'"),
    ("postgresql://ann@host/birds?galery=g", "takes no 'galery'; did you mean gallery or"),
    (f"postgresql://ann:{SECRET}/x@host/birds?gallery=g", "cannot be read"),
    (f"postgresql://ann:12/{SECRET}@host/birds?gallery=g", "cannot be read"),
    (f"postgresql://ann:12?{SECRET}@host/birds&gallery=g", "cannot be read"),
    (f"postgresql://ann:{SECRET}#x@host/birds?gallery=g", "cannot be read"),
    (f"postgresql://ann:{SECRET}@host:port/birds?gallery=g", "cannot be read"),
    (f"postgresql://ann:{SECRET}@[::1/birds?gallery=g", "cannot be read"),
    (f"postgresql:/ann:{SECRET}@host/birds?gallery=g", "cannot be read"),
    ("postgresql://an%00n@host/birds?gallery=g", "cannot be read"),
    ("postgresql://ann@host/a/b?gallery=g", "cannot be read"),
]


@pytest.mark.parametrize(("url", "shown"), RIGHT)
def test_a_url_is_read_and_shown_without_its_password(url, shown):
    address = parse(url)
    assert address.shown == shown
    assert address.password == (SECRET if SECRET in url else "")
    assert SECRET not in repr(address) + str(address)
    if "ssl" not in url:
        assert parse(shown) == parse(url.replace(f":{SECRET}", ""))


@pytest.mark.parametrize(("url", "sentence"), WRONG)
def test_a_wrong_url_is_one_sentence_without_the_password(url, sentence):
    with pytest.raises(ValueError) as caught:
        parse(url)
    assert sentence in str(caught.value)
    assert SECRET not in str(caught.value)


@given(st.text(min_size=1, max_size=30).filter(lambda text: "\0" not in text))
def test_any_password_is_read_back(password):
    try:
        secret = quote(password, safe="")
    except UnicodeEncodeError:
        return
    address = parse(f"postgresql://ann:{secret}@host/birds?gallery=g")
    assert (address.password, address.shown) == (password, "postgresql://ann@host/birds?gallery=g")


@given(st.text(alphabet="ab1:/@?#[]%&=. \\", max_size=25))
def test_a_password_that_was_not_quoted_is_never_told(rest):
    url = f"postgresql://ann:{rest}{SECRET}{rest}@host/birds?gallery=g"
    try:
        said = parse(url).shown
    except ValueError as error:
        said = str(error)
    assert SECRET not in said
    assert SECRET not in without_password(f"an argument ({url}) too many") or any(sign.isspace() for sign in rest)


def test_a_sentence_keeps_all_but_the_password():
    url = f"postgresql://ann:{SECRET}@host/birds?gallery=g"
    assert without_password(f"no {url}, a") == "no postgresql://ann:***@host/birds?gallery=g, a"
    assert without_password("no postgresql://ann@host/b: x@y") == "no postgresql://ann@host/b: x@y"


@pytest.mark.parametrize("numbers", [[], [1.5], [1.0, -0.25, 3e38]])
def test_a_vector_there_and_back_in_the_form_of_pgvector(numbers):
    link = pytest.importorskip("likewise.gallery.postgres_link")
    vector = np.array(numbers, np.float32)
    sent = link.Vector.of(vector)
    assert sent == struct.pack(f">HH{len(numbers)}f", len(numbers), 0, *numbers)
    assert link.vector_bytes(bytes(sent)) == vector.tobytes()
    for wrong in (bytes(sent)[:-1], bytes(sent) + b"x", b"\0\1\0", None, "text", [1.0]):
        assert link.vector_bytes(wrong) == b""
