"""The service as a process: start, orderly stop, TLS, wrong calls; clients that are slow, endless or wrong."""

import json
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx2
import pytest

from colours import BLUE, GREEN, RED, coloured
from likewise.serve.app import PAGE
from live import PATIENCE, Live, create, running

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow

# the same program with limits that a test can wait for
STRICT = """
import sys
from likewise.serve import protocol, run
from likewise.serve.settings import Limits, Settings
protocol.HEAD_SECONDS, protocol.READ_SECONDS, run.IDLE_SECONDS = 0.7, 1.0, 1
limits = Limits(seconds=1.5, request_bytes=4 << 20, rate=1e6, burst=10**6, concurrency=64, connections=256)
run.serve(Settings((sys.argv[1],), port=0, limits=limits))
"""
SHORT = 9.0  # seconds: more than the limits above, less than those that a service has by itself
MEMORY = 200_000  # kB that a server may take beside what it took at rest


def field(data: bytes, boundary: str = "b") -> bytes:
    head = f'--{boundary}\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    return head.encode() + data + f"\r\n--{boundary}--\r\n".encode()


def head(path: str, *lines: str, method: str = "POST") -> bytes:
    told = ("host: localhost", "content-type: multipart/form-data; boundary=b", *lines)
    return "\r\n".join([f"{method} {path} HTTP/1.1", *told, "", ""]).encode()


def rest(sock: socket.socket) -> bytes:
    """All that comes until the server closes; the time is limited by the socket's."""
    sock.settimeout(SHORT)
    parts = []
    try:
        while part := sock.recv(65_536):
            parts.append(part)
    except (ConnectionError, ssl.SSLError):  # closed while something was still sent
        pass
    return b"".join(parts)


def status(answer: bytes) -> int:
    """0 for none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def upload(colour: tuple[int, int, int], seed: int = 0) -> list:
    return [("image", ("a.png", coloured(colour, seed), "image/png"))]


@pytest.fixture(scope="module")
def strict(tmp_path_factory) -> Iterator[Live]:
    """One server for all wrong clients: what one did must not harm the next."""
    folder = tmp_path_factory.mktemp("strict")
    script = folder / "strict.py"
    script.write_text(STRICT)
    with running(folder, str(create(folder)), command=(sys.executable, str(script))) as live:
        live.client.post("/v1/enroll", files=upload(RED), data={"label": "red"})
        live.rested = live.status("VmHWM")
        yield live
        text = live.text()
        assert "Traceback" not in text, text[-3000:]
        assert " 500 " not in text


@pytest.fixture(autouse=True)
def unharmed(request) -> Iterator[None]:
    yield
    if "strict" in request.fixturenames:
        live = request.getfixturevalue("strict")
        assert live.client.get("/v1/health").json()["status"] == "ready"
        assert live.client.post("/v1/identify", files=upload(RED, 1)).status_code == 200
        assert live.status("VmHWM") - live.rested < MEMORY


# starting and stopping


def test_it_answers_without_torch_and_stops_when_told(tmp_path):
    with running(tmp_path, str(create(tmp_path)), "--port", "0") as live:
        assert live.client.get("/v1/health").json() == {
            "status": "ready",
            "galleries": {"live": {"ready": True, "detail": ""}},
        }
        for label, colour in (("red", RED), ("green", GREEN), ("blue", BLUE)):
            added = live.client.post("/v1/enroll", files=upload(colour) + upload(colour, 1), data={"label": label})
            assert len(added.json()["added"]) == 2
        found = live.client.post("/v1/identify", files=upload(GREEN, 5)).json()["answers"][0]
        assert found["label"] == "green"
        assert "libtorch" not in Path(f"/proc/{live.process.pid}/maps").read_text()
        assert live.stop() == 0
        text = live.text()
        assert "Traceback" not in text
        assert "green" not in text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_in_flight_is_finished_before_it_stops(tmp_path, number):
    with running(tmp_path, str(create(tmp_path)), "--port", "0") as live, live.connect() as sock:
        body = field(coloured(RED)).replace(b"--b--", b"--b") + (
            b'content-disposition: form-data; name="label"\r\n\r\nred\r\n--b--\r\n'
        )
        sock.sendall(head("/v1/enroll", f"content-length: {len(body)}") + body[:-40])
        while "likewise_requests_in_flight 2.0" not in live.client.get("/v1/metrics").text:
            pass
        live.process.send_signal(number)
        while True:
            try:
                live.connect().close()
            except OSError:
                break  # it accepts nothing more
        assert live.process.poll() is None
        sock.sendall(body[-40:])
        answer = rest(sock)
        assert status(answer) == 200, answer
        assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["added"]) == 1
        assert live.process.wait(PATIENCE) == 0


def test_a_stopped_service_goes_on_where_it_was(tmp_path):
    path = str(create(tmp_path))
    with running(tmp_path, path, "--port", "0") as live:
        added = live.client.post("/v1/enroll", files=upload(RED), data={"label": "red"}).json()["added"]
        live.stop()
    with running(tmp_path, path, "--port", "0") as live:
        assert [line["id"] for line in live.client.get("/v1/images").json()["images"]] == added


def refused(*arguments: str) -> str:
    """The one sentence of a call that is wrong."""
    command = [sys.executable, "-m", "likewise", "serve", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr


def test_wrong_calls_are_one_sentence(tmp_path):
    path = str(create(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port} of 127.0.0.1 is used by another program" in refused(path, "--port", str(port))
    assert "can be reached by other machines" in refused(path, "--host", "0.0.0.0")
    assert "there is no address" in refused(path, "--host", "127.0.0.1.nowhere.invalid", "--token-file", path)
    assert "there is no file" in refused(path, "--token-file", str(tmp_path / "none.toml"))
    assert "needs scope" in refused(path, "--token-file", _file(tmp_path / "bad.toml", "[x]\nscope = 'all'\n"))
    assert "need galleries in PostgreSQL" in refused(path, "--workers", "2")
    assert "none.gallery" in refused(str(tmp_path / "none.gallery"))
    bad = _file(tmp_path / "bad.pem", "no certificate")
    assert "are not a certificate" in refused(path, "--port", "0", "--certificate", bad, "--key", bad)


def _file(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate of 127.0.0.1, and its key."""
    paths = folder / "cert.pem", folder / "key.pem"
    made = "openssl req -x509 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    try:
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
        subprocess.run(
            [*made.split(), *curve, "-out", str(paths[0]), "-keyout", str(paths[1])], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("needs the program openssl")
    return paths


def test_tls(tmp_path):
    cert, key = certificate(tmp_path)
    options = ("--port", "0", "--certificate", str(cert), "--key", str(key))
    trust = ssl.create_default_context(cafile=str(cert))
    with running(tmp_path, str(create(tmp_path)), *options, verify=trust) as live:
        assert live.url.startswith("https://")
        assert live.client.get("/v1/health").status_code == 200
        assert live.client.post("/v1/enroll", files=upload(RED), data={"label": "red"}).status_code == 200
        with live.connect() as plain:
            plain.sendall(head("/v1/health", method="GET"))
            assert status(rest(plain)) == 0
        with live.connect() as sock, trust.wrap_socket(sock, server_hostname="127.0.0.1") as secure:
            assert secure.version() in ("TLSv1.2", "TLSv1.3")
        assert live.client.get("/v1/health").status_code == 200
        assert live.stop() == 0


# clients that are slow


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"POST /v1/emb", id="half a line"),
        pytest.param(head("/v1/embed", "content-length: 9")[:-2], id="no end of the head"),
        pytest.param(b"\r\n\r\n", id="empty lines"),
        pytest.param(head("/v1/embed", "content-length: 1000"), id="no body"),
        pytest.param(head("/v1/embed", "content-length: 1000") + b"--b\r\n", id="half a body"),
        pytest.param(head("/v1/embed", "transfer-encoding: chunked") + b"5\r\n--b\r\n\r\n", id="half of the chunks"),
        pytest.param(
            head("/v1/health", method="GET") + head("/v1/embed", "content-length: 9")[:-2], id="half of a second one"
        ),
    ],
)
@pytest.mark.parametrize("trickle", [b"", b"x"], ids=["stops", "trickles"])
def test_a_request_that_is_never_finished(strict, begin, trickle):
    with strict.connect() as sock:
        sock.sendall(begin)
        if trickle:
            drip(sock, trickle)
        answer = rest(sock)
    assert status(answer) in (0, 200, 400, 408, 413, 504), answer
    if b"content-length: 1000" in begin and not trickle:
        assert status(answer) == 504
        assert b"not finished within 1.5 s" in answer


def drip(sock: socket.socket, piece: bytes) -> None:
    """A byte now and then until the server answers or closes."""
    for _ in range(200):
        if select.select([sock], [], [], 0.05)[0]:
            return
        try:
            sock.sendall(piece)
        except ConnectionError:
            return
    pytest.fail("the server waits for ever")


def test_an_answer_that_is_never_read(strict):
    """The connection is given up, and takes nothing from the others."""
    with strict.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        asked = head("/openapi.json", method="GET")
        before = strict.handles()
        sock.settimeout(SHORT)
        try:
            for _ in range(2000):  # pipelined: answers of some 60 kB each
                sock.sendall(asked)
        except (ConnectionError, TimeoutError):
            pass
        for _ in range(200):
            if strict.handles() < before:
                break
            select.select([], [], [], 0.05)
        assert strict.handles() < before


# clients that are endless or wrong


def pour(live: Live, begin: bytes, piece: bytes) -> bytes:
    """The answer to a body without an end."""
    with live.connect() as sock:
        sock.settimeout(SHORT)
        try:
            sock.sendall(begin)
            for _ in range(100_000):
                sock.sendall(piece)
                if select.select([sock], [], [], 0)[0]:
                    break
        except (ConnectionError, TimeoutError):
            pass
        return rest(sock)


PART = b'--b\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\n'


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        (PART, b"x" * 65_536),
        (PART, b"x"),
        (b'--b\r\ncontent-disposition: form-data; name="label"\r\n\r\n', b"x" * 65_536),
        (b"", PART + b"x\r\n"),
        (b"--b\r\n", b"x-header: 1\r\n"),
        (b"--b\r\ncontent-disposition: ", b"x" * 65_536),
    ],
    ids=["a file", "a file by bytes", "a field", "parts", "headers of a part", "a header of a part"],
)
def test_chunks_without_end(strict, first, piece):
    begin = head("/v1/embed", "transfer-encoding: chunked") + (chunk(first) if first else b"")
    answer = pour(strict, begin, chunk(piece))
    assert status(answer) in (0, 400, 413, 504), answer
    if answer:
        assert b"application/problem+json" in answer


def test_a_head_without_end(strict):
    assert status(pour(strict, b"GET /v1/health HTTP/1.1\r\n", b"x-header: 1\r\n")) in (0, 400)
    assert status(pour(strict, b"GET /", b"x" * 65_536)) in (0, 400)


def test_ten_thousand_parts(strict):
    body = PART + (b"x\r\n" + PART) * 10_000 + b"x\r\n--b--\r\n"
    for path in ("/v1/embed", "/v1/enroll", "/v1/search"):
        with strict.connect() as sock:
            sock.sendall(head(path, f"content-length: {len(body)}", "connection: close"))
            with suppress(ConnectionError):
                sock.sendall(body)
            assert status(rest(sock)) in (0, 400, 413)
    fields = PART.replace(b'; filename="a.png"', b"")
    body = fields + (b"x\r\n" + fields) * 10_000 + b"x\r\n--b--\r\n"
    assert (
        strict.client.post(
            "/v1/search", content=body, headers={"content-type": "multipart/form-data; boundary=b"}
        ).status_code
        == 400
    )


IMAGE = field(coloured(RED))


@pytest.mark.parametrize(
    ("lines", "body", "right"),
    [
        ((f"content-length: {len(IMAGE)}",), IMAGE, {200}),
        ((f"content-length: {len(IMAGE) + 9}",), IMAGE, {504}),
        ((f"content-length: {len(IMAGE) - 9}",), IMAGE, {200, 400, 422}),
        (("content-length: 0",), IMAGE, {400, 422}),
        ((), IMAGE, {400, 422}),
        (("content-length: -1",), IMAGE, {400}),
        (("content-length: 1e3",), IMAGE, {400}),
        (("content-length: 99999999999999999999",), IMAGE, {400, 413}),
        (("content-length: 5", "content-length: 6"), IMAGE, {400}),
        (("content-length: 5", "transfer-encoding: chunked"), chunk(IMAGE) + b"0\r\n\r\n", {200, 400}),
        (("transfer-encoding: chunked",), b"zz\r\n", {0, 400}),
        (("transfer-encoding: chunked",), b"-5\r\nhello", {0, 400}),
        (("transfer-encoding: chunked",), chunk(IMAGE) + b"0\r\n\r\n", {200}),
        (("transfer-encoding: gzip",), IMAGE, {400, 501}),
        (("host: other",), b"", {400}),
        (("x: a\x00b",), b"", {400}),
    ],
    ids=range(16),
)  # fmt: skip
def test_lengths_that_are_wrong(strict, lines, body, right):
    with strict.connect() as sock:
        sock.sendall(head("/v1/embed", *lines) + body)
        answer = rest(sock)
    assert status(answer) in right, answer
    if status(answer) not in (0, 200):
        assert b"application/problem+json" in answer


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/0.9\r\n\r\n",
        b"GET http://other/ HTTP/1.1\r\nhost: other\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        b"GET /page/..%2f..%2fapp.py HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        b"CONNECT other:443 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        b"GET /v1/classes HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade, close\r\n\r\n",
        b"\x00" * 1000,
        b"\r\n" * 5000,
    ],
    ids=range(10),
)
def test_what_is_no_request_of_ours(strict, data):
    if b"/page/" in data and not Path(PAGE).is_dir():
        pytest.skip("needs the page")
    with strict.connect() as sock:
        sock.sendall(data)
        answer = rest(sock)
    assert status(answer) in (0, 200, 400, 403, 404, 405), answer
    assert b"root:" not in answer


def test_many_connections(strict):
    """Those that do nothing are closed; while there are too many, further ones are told so."""
    socks = []
    try:
        for _ in range(400):
            socks.append(strict.connect())
        for sock in socks[:40]:
            sock.sendall(head("/v1/classes", "connection: close", method="GET"))
        seen = [status(rest(sock)) for sock in socks]
        assert set(seen[:40]) <= {200, 503}
        assert set(seen[40:]) <= {0}
    finally:
        for sock in socks:
            sock.close()


FEW = """
import sys
from likewise.serve import run
from likewise.serve.settings import Limits, Settings
run.serve(Settings((sys.argv[1],), port=0, limits=Limits(connections=8)))
"""


def test_more_connections_than_the_limit(tmp_path):
    """A surplus connection is told so in the form of all errors and closed; those that were open before go on."""
    script = tmp_path / "few.py"
    script.write_text(FEW)
    asked = head("/v1/classes", method="GET")
    with ExitStack() as stack:
        live = stack.enter_context(running(tmp_path, str(create(tmp_path)), command=(sys.executable, str(script))))
        early = stack.enter_context(httpx2.Client(base_url=live.url, timeout=PATIENCE))
        assert early.get("/v1/classes").status_code == 200
        for _ in range(7):
            stack.enter_context(live.connect())
        with live.connect() as late:
            late.sendall(asked)
            lines, _, text = rest(late).partition(b"\r\n\r\n")
        problem = json.loads(text)
        assert (status(lines), problem["status"]) == (503, 503)
        assert b"content-type: application/problem+json" in lines.lower()
        assert f"x-request-id: {problem['request_id']}".encode() in lines.lower()
        assert b"retry-after: 1" in lines.lower()
        assert problem["detail"] == "8 connections are open already; try again"
        assert httpx2.get(f"{live.url}/v1/health").json()["status"] == "ready"
        assert early.get("/v1/classes").status_code == 200


def test_many_that_send_much_at_once(strict):
    """More bytes than the limit, by twenty clients at a time."""
    begin = head("/v1/enroll", "transfer-encoding: chunked") + chunk(PART)
    seen: list[int] = []
    threads = [
        threading.Thread(target=lambda: seen.append(status(pour(strict, begin, chunk(b"x" * 65_536)))))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 20
    assert set(seen) <= {0, 413, 503, 504}
