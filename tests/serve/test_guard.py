"""Limits, tokens, headers, idempotency: what surrounds every call."""

import io
import threading
import time

import pytest
from PIL import Image

from colours import BLUE, GREEN, RED, coloured
from likewise.serve.guard import RateLimit
from likewise.serve.settings import Limits, Settings, named_galleries
from likewise.serve.tokens import Tokens, create_token, revoke_token
from serving import classes, detail, enroll, fill, photo, service, tokens


@pytest.fixture
def client(tmp_path):
    with service(tmp_path) as found:
        yield found


# tokens

READS = [
    ("get", "/v1/classes"),
    ("get", "/v1/info"),
    ("get", "/v1/galleries"),
    ("get", "/v1/metrics"),
    ("get", "/v1/map"),
]
WRITES = [("post", "/v1/undo"), ("post", "/v1/classes/rename")]
ADMINS = [("post", "/v1/vacuum"), ("post", "/v1/classes/forget"), ("post", "/v1/calibrate"), ("get", "/v1/audit")]


@pytest.mark.parametrize(("method", "path"), READS + WRITES + ADMINS)
def test_each_call_needs_a_token_of_its_scope(tmp_path, method, path):
    needs = "read" if (method, path) in READS else "write" if (method, path) in WRITES else "admin"
    file, headers = tokens(tmp_path)
    with service(tmp_path, token_file=file) as client:
        ask = getattr(client, method)
        answer = ask(path)
        assert "needs a token" in detail(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "not one of" in detail(ask(path, headers={"Authorization": "Bearer wrong"}), 401)
        assert "needs a token" in detail(ask(path, headers={"Authorization": "Basic d3Jvbmc="}), 401)
        secret = headers["admin"]["Authorization"].removeprefix("Bearer ")
        assert ask(path, params={"token": secret, "access_token": secret}).status_code == 401
        for scope, header in headers.items():
            status = ask(path, headers=header).status_code
            allowed = ("read", "write", "admin").index(scope) >= ("read", "write", "admin").index(needs)
            assert (status not in (401, 403)) == allowed, (scope, status)


def test_health_needs_no_token(tmp_path):
    with service(tmp_path, token_file=tokens(tmp_path)[0]) as client:
        assert client.get("/v1/health").status_code == 200


def test_tokens_change_without_a_restart(tmp_path):
    file, headers = tokens(tmp_path)
    with service(tmp_path, token_file=file) as client:
        later = {"Authorization": f"Bearer {create_token(file, 'later', 'read')}"}
        assert client.get("/v1/classes", headers=later).status_code == 200
        revoke_token(file, "later")
        assert client.get("/v1/classes", headers=later).status_code == 401
        (tmp_path / "tokens.toml").write_text("half [")
        assert client.get("/v1/classes", headers=headers["read"]).status_code == 200


def test_a_token_is_stored_as_its_hash_only(tmp_path):
    text = create_token(tmp_path / "t.toml", "phone", "write")
    assert text not in (tmp_path / "t.toml").read_text()
    assert (tmp_path / "t.toml").stat().st_mode & 0o777 == 0o600
    found = Tokens(tmp_path / "t.toml").find(text)
    assert found == ("phone", "write")
    assert Tokens(tmp_path / "t.toml").find(text[:-1]) is None


@pytest.mark.parametrize(
    "content",
    [
        "half [",
        'a = "read"',
        '[a]\nscope = "all"\nsha256 = "' + "0" * 64 + '"',
        '[a]\nscope = "read"\nsha256 = "short"',
        '["a b"]\nscope = "read"\nsha256 = "' + "0" * 64 + '"',
        '[a]\nscope = ["read"]\nsha256 = "' + "0" * 64 + '"',
    ],
)
def test_a_token_file_that_is_none(tmp_path, content):
    (tmp_path / "t.toml").write_text(content)
    with pytest.raises(ValueError, match=r"t\.toml"):
        Tokens(tmp_path / "t.toml")


@pytest.mark.parametrize(
    ("name", "scope"), [("a b", "read"), ("", "read"), ("x" * 65, "read"), ("a", "root"), ("phone", "read")]
)
def test_a_token_that_cannot_be_made(tmp_path, name, scope):
    create_token(tmp_path / "t.toml", "phone", "read")
    before = (tmp_path / "t.toml").read_text()
    with pytest.raises(ValueError, match=r"token|scope"):
        create_token(tmp_path / "t.toml", name, scope)
    assert (tmp_path / "t.toml").read_text() == before


# what a service may be started as


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])
def test_a_public_address_needs_tokens(host):
    with pytest.raises(ValueError, match="can be reached by other machines"):
        Settings(("a.gallery",), host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_needs_none(host):
    assert Settings(("a.gallery",), host=host).local


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"galleries": ()}, "no gallery to serve"),
        ({"galleries": ("a.gallery",), "token_file": "/no/file"}, "there is no file /no/file"),
        ({"galleries": ("a.gallery",), "certificate": "c.pem"}, "both a certificate and its key"),
        ({"galleries": ("a.gallery",), "workers": 2}, "need galleries in PostgreSQL"),
    ],
)
def test_settings_that_do_not_fit(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        Settings(**given)


def test_settings_survive_the_way_to_a_worker():
    settings = Settings(("a.gallery", "b=c.gallery"), port=9, limits=Limits(images=3))
    assert Settings.of_json(settings.as_json()) == settings


def test_names_of_galleries():
    assert named_galleries(("x/birds.gallery", "b=y/birds.gallery")) == [
        ("birds", "x/birds.gallery"),
        ("b", "y/birds.gallery"),
    ]
    url = "postgresql://me:secret@host/db?gallery=owls"
    assert named_galleries((url, f"b={url}")) == [("owls", url), ("b", url)]
    with pytest.raises(ValueError, match="two galleries are named owls") as caught:
        named_galleries((url, url))
    assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match="two galleries are named birds"):
        named_galleries(("x/birds.gallery", "y/birds.gallery"))


# headers


def test_every_answer_has_an_id_and_security_headers(client):
    for answer in (
        client.get("/v1/health"),
        client.get("/v1/none"),
        client.post("/v1/search"),
        client.delete("/v1/info"),
    ):
        assert len(answer.headers["x-request-id"]) == 32
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers
    assert client.get("/v1/health", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert client.get("/v1/health", headers={"x-request-id": "a\tb"}).headers["x-request-id"] != "a\tb"


def test_nothing_is_there_and_no_such_method(client):
    assert "there is nothing at /v1/none" in detail(client.get("/v1/none"), 404)
    assert "does not take DELETE" in detail(client.delete("/v1/info"), 405)


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", ""])
def test_another_name_for_this_machine_is_refused(client, host):
    """A page that rebinds its own name to 127.0.0.1 is not answered."""
    assert "localhost only" in detail(client.get("/v1/classes", headers={"host": host}), 403)


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"])
def test_names_of_this_machine(client, host):
    assert client.get("/v1/classes", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:9999"])
def test_a_page_of_another_origin_may_not_write(client, origin):
    answer = client.post("/v1/enroll", files=[photo(RED)], data={"label": "x"}, headers={"origin": origin})
    assert "may not call" in detail(answer, 403)
    assert classes(client) == {}
    own = client.post("/v1/enroll", files=[photo(RED)], data={"label": "x"}, headers={"origin": "http://localhost"})
    assert own.status_code == 200


# limits


def test_a_request_that_is_too_long(tmp_path):
    with service(tmp_path, limits=Limits(request_bytes=10_000)) as client:
        big = ("image", ("a.png", b"x" * 20_000, "image/png"))
        assert "may be" in detail(client.post("/v1/embed", files=[big]), 413)

        def chunks():
            for _ in range(100):
                yield b'--b\r\ncontent-disposition: form-data; name="x"\r\n\r\n' + b"x" * 500 + b"\r\n"

        answer = client.post(
            "/v1/embed", content=chunks(), headers={"content-type": "multipart/form-data; boundary=b"}
        )  # no length is announced
        assert detail(answer, 413)


@pytest.mark.parametrize("length", ["-1", "x", "1e9", ""])
def test_a_length_that_is_none(client, length):
    answer = client.post("/v1/undo", headers={"content-length": length})
    assert answer.status_code in (400, 409)
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_image_that_is_too_long_or_has_too_many_pixels(tmp_path):
    with service(tmp_path, limits=Limits(image_bytes=5_000, image_pixels=2_000)) as client:
        assert "at most 5.0 kB" in detail(client.post("/v1/embed", files=[photo(RED, size=(80, 80))]), 413)
        assert "50 x 50 pixels" in detail(client.post("/v1/embed", files=[photo(RED, size=(50, 50), kind="JPEG")]), 413)


def bomb(side: int) -> bytes:
    """A PNG of a few kilobytes that announces many pixels."""
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    return file.getvalue()


HOSTILE = {
    "text": b"hello",
    "html": b"<html><script>alert(1)</script>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>',
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/etc/passwd) run\n",
    "pdf": b"%PDF-1.7\n%%EOF",
    "zip": b"PK\x03\x04" + b"\0" * 60,
    "cut png": coloured(RED)[:60],
    "png head": coloured(RED)[:16],
    "gif head": b"GIF89a",
    "png and html": coloured(RED)[:8] + b"<script>alert(1)</script>",
    "tiff loop": b"II*\x00\x08\x00\x00\x00\x00\x00\x08\x00\x00\x00",
    "bmp of 2 gigapixels": b"BM" + bytes(12) + (40).to_bytes(4, "little") + (60_000).to_bytes(4, "little") * 2
    + b"\x01\x00\x18\x00" + bytes(24),
    "qoi": b"qoif" + bytes(20),
    "url": b"https://example.org/a.png",
    "path": b"/etc/passwd",
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("call", ["embed", "identify", "search", "enroll"])
def test_a_file_that_is_no_image(client, what, call):
    answer = client.post(f"/v1/{call}", files=[("image", ("a.png", HOSTILE[what], "image/png"))], data={"label": "x"})
    if answer.status_code == 200:  # a cut image is named by enroll
        assert call == "enroll"
        assert not answer.json()["added"]
    else:
        assert "image 1" in detail(answer, answer.status_code)
        assert answer.status_code in (400, 413, 415)
    assert classes(client) == {}


def test_a_bomb_is_not_decoded(client):
    data = bomb(20_000)
    assert len(data) < 100_000
    assert "image 1" in detail(client.post("/v1/embed", files=[("image", ("a.png", data, "image/png"))]), 413)


def test_too_many_images_parts_and_fields(client):
    many = [("image", ("a", b"x", "image/png"))] * 40
    assert "a request takes 32 images" in detail(client.post("/v1/embed", files=many), 413)
    assert detail(client.post("/v1/embed", files=many * 250), 400)
    assert detail(client.post("/v1/search", files=[photo(RED)], data={"where": ["a=1"] * 2000}), 400)
    assert detail(client.post("/v1/search", files=[photo(RED)], data={"where": ["a=1"] * 17}), 422)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b",
        b"--b\r\n\r\n",
        b"--b\r\ncontent-disposition: form-data; name=image\r\n\r\nx\r\n--b--",
        b"\xff" * 100,
    ],
)
@pytest.mark.parametrize(
    "kind", ["multipart/form-data; boundary=b", "multipart/form-data", "application/json", "text/plain"]
)
def test_bodies_that_are_none(client, body, kind):
    for call in ("embed", "enroll", "classes/rename"):
        answer = client.post(f"/v1/{call}", content=body, headers={"content-type": kind})
        assert 400 <= answer.status_code < 500, (call, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"


def test_one_caller_is_slowed_down_and_told_how_long(tmp_path):
    with service(tmp_path, limits=Limits(rate=0.5, burst=3)) as client:
        statuses = [client.get("/v1/classes").status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        answer = client.get("/v1/classes")
        assert "requests a second" in detail(answer, 429)
        assert 1 <= int(answer.headers["retry-after"]) <= 2


def test_a_bucket_refills_and_old_callers_are_dropped():
    now = [0.0]
    limit = RateLimit(2.0, 2, lambda: now[0])
    assert [limit.wait("a") for _ in range(3)] == [0, 0, 0.5]
    assert limit.wait("b") == 0
    now[0] = 0.5
    assert [limit.wait("a"), limit.wait("a")] == [0, 0.5]
    for i in range(11_000):
        limit.wait(str(i))
    assert len(limit.buckets) == 10_000


def test_more_than_may_be_in_flight_is_refused(tmp_path):
    """The second of two slow requests is answered at once."""
    with service(tmp_path, limits=Limits(concurrency=1)) as client:
        gallery = client.app.state.galleries["colours"].gallery
        begun, go = threading.Event(), threading.Event()
        plain = gallery.encoder.inner.embed

        def slow(paths):
            begun.set()
            go.wait(10)
            return plain(paths)

        gallery.encoder.inner.embed = slow
        first = []
        thread = threading.Thread(target=lambda: first.append(client.post("/v1/embed", files=[photo(RED)])))
        thread.start()
        assert begun.wait(10)
        answer = client.get("/v1/classes")
        assert "in flight" in detail(answer, 503)
        assert answer.headers["retry-after"] == "1"
        assert client.get("/v1/health").status_code == 200
        go.set()
        thread.join()
        assert first[0].status_code == 200


def test_a_request_that_takes_too_long(tmp_path):
    with service(tmp_path, limits=Limits(seconds=0.3)) as client:
        gallery = client.app.state.galleries["colours"].gallery
        go = threading.Event()
        plain = gallery.encoder.inner.embed
        gallery.encoder.inner.embed = lambda paths: go.wait(10) and plain(paths)
        assert "not finished within 0.3 s" in detail(client.post("/v1/embed", files=[photo(RED)]), 504)
        go.set()


# idempotency


def test_a_write_of_one_key_is_done_once(client):
    fill(client)
    key = {"Idempotency-Key": "rename-1"}
    first = client.post("/v1/classes/rename", json={"label": "red", "to": "pink"}, headers=key)
    again = client.post("/v1/classes/rename", json={"label": "red", "to": "pink"}, headers=key)
    assert first.json() == again.json() == {"moved": 3}
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    other = client.post("/v1/classes/rename", json={"label": "pink", "to": "rose"}, headers=key)
    assert "used for another request" in detail(other, 422)
    assert client.post("/v1/undo", headers={"Idempotency-Key": "u"}).json() == {"undone": "rename"}
    assert client.post("/v1/undo", headers={"Idempotency-Key": "u"}).json() == {"undone": "rename"}
    assert classes(client) == {"blue": 3, "green": 3, "red": 3}


def test_an_enrollment_of_one_key_is_done_once(client):
    key = {"Idempotency-Key": "e"}
    first = enroll(client, "red", photo(RED, 1), photo(RED, 2), gate="off", headers=key).json()
    again = enroll(client, "red", photo(RED, 1), photo(RED, 2), gate="off", headers=key).json()
    assert first == again
    assert len(first["added"]) == 2
    assert "another request" in detail(enroll(client, "red", photo(RED, 3), headers=key), 422)
    assert classes(client) == {"red": 2}


def test_a_failed_write_may_be_tried_again_under_its_key(client):
    key = {"Idempotency-Key": "m"}
    detail(client.post("/v1/classes/merge", json={"label": "red", "into": "blue"}, headers=key), 404)
    fill(client)
    assert client.post("/v1/classes/merge", json={"label": "red", "into": "blue"}, headers=key).json() == {"moved": 3}


def test_the_answer_to_a_forgotten_class_is_not_kept(client):
    fill(client)
    for _ in range(2):
        answer = client.post(
            "/v1/classes/rename", json={"label": "red", "to": "pink"}, headers={"Idempotency-Key": "r"}
        )
        assert answer.json() == {"moved": 3}
    assert (
        client.post("/v1/classes/forget", json={"label": "pink"}, headers={"Idempotency-Key": "f"}).json()["removed"]
        == 3
    )
    answer = client.post("/v1/classes/rename", json={"label": "red", "to": "pink"}, headers={"Idempotency-Key": "r"})
    assert "erased" in detail(answer, 409)
    again = client.post("/v1/classes/forget", json={"label": "pink"}, headers={"Idempotency-Key": "f"})
    assert again.json() == {"removed": 3, "erased": True}


@pytest.mark.parametrize("key", ["", "x" * 201])
def test_a_key_that_is_none(client, key):
    assert "Idempotency-Key" in detail(client.post("/v1/undo", headers={"Idempotency-Key": key}), 422)


def test_many_at_once_are_embedded_together_and_each_gets_its_own(client):
    fill(client, each=1)
    colours = {"red": RED, "green": GREEN, "blue": BLUE}
    found: dict[int, str] = {}

    def ask(i: int, label: str) -> None:
        answer = client.post("/v1/identify", files=[photo(colours[label], 100 + i)])
        found[i] = answer.json()["answers"][0]["label"]

    wanted = {i: list(colours)[i % 3] for i in range(24)}
    threads = [threading.Thread(target=ask, args=item) for item in wanted.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == wanted


def test_one_broken_image_does_not_fail_the_others_of_its_batch(tmp_path):
    from colours import Colours
    from likewise.serve.batching import BatchingEncoder

    sizes: list[int] = []
    encoder = BatchingEncoder(Colours(), sizes.append)
    good, bad = tmp_path / "a.png", tmp_path / "b.png"
    good.write_bytes(coloured(RED))
    bad.write_bytes(coloured(RED)[:200])
    begun, hold = threading.Event(), threading.Event()
    plain = encoder.inner.embed
    encoder.inner.embed = lambda paths: (begun.set(), hold.wait(10), plain(paths))[2]
    results: dict[int, object] = {}

    def ask(i: int, path) -> None:
        try:
            results[i] = encoder.embed([path])
        except ValueError as error:
            results[i] = error

    threads = [threading.Thread(target=ask, args=(i, bad if i == 3 else good)) for i in range(6)]
    threads[0].start()
    assert begun.wait(10)
    for thread in threads[1:]:
        thread.start()
    while encoder.jobs.qsize() < 5:  # the first is being embedded
        time.sleep(0.01)
    hold.set()
    for thread in threads:
        thread.join()
    encoder.close()
    assert isinstance(results[3], ValueError)
    assert all(results[i].shape == (1, 3) for i in (0, 1, 2, 4, 5))
    assert max(sizes) >= 5


def test_class_names_are_text_whatever_they_hold(client):
    names = [
        "<script>alert(1)</script>",
        "a'; DROP TABLE items; --",
        "{{7*7}}",
        "../../etc",
        "a/b",
        "ä ö 鳥",
        "%00",
        "a?b#c",
    ]
    for i, name in enumerate(names):
        assert enroll(client, name, photo((40 * i + 5, 90, 200 - 20 * i), i), gate="off").status_code == 200
    assert sorted(classes(client)) == sorted(names)
    for name in names:
        page = client.get("/v1/images", params={"label": name}).json()
        assert page["total"] == 1
        assert client.post("/v1/classes/rename", json={"label": name, "to": name + "!"}).json() == {"moved": 1}
