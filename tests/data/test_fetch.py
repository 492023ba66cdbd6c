"""Fetching from a server on this machine that breaks off, forgets ranges, lies and serves other bytes."""

import hashlib
import json
import os
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from likewise.cli import main
from likewise.data.fetch import PUBLISHED, Published, fetch

FILES = {"a.gz": os.urandom(1_000_000), "b.gz": b"short"}


class Handler(BaseHTTPRequestHandler):
    """Serves FILES; `server.mood` says how badly."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        mood, name = self.server.mood, self.path.rpartition("/")[2]
        self.server.asked.append((name, self.headers.get("Range")))
        if name not in FILES:
            return self.send_error(404)
        body = FILES[name] if "other bytes" not in mood else b"x" * len(FILES[name])
        start = (
            0 if "no ranges" in mood else int((re.match(r"bytes=(\d+)-", self.headers.get("Range") or "") or [0, 0])[1])
        )
        if start and start >= len(body):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        breaks = "breaks off" in mood and len(body) > 1000
        limit = 300_000 if breaks else 0 if "sends nothing" in mood else len(body)
        self.wfile.write(body[start : start + limit])
        if limit < len(body) - start:
            self.close_connection = True
        return None


@pytest.fixture
def server(monkeypatch):
    sums = {name: (hashlib.sha256(body).hexdigest(),) for name, body in FILES.items()}
    monkeypatch.setitem(PUBLISHED, "tiny", Published("tiny/python", "http://127.0.0.1:9/", sums))
    monkeypatch.setattr("likewise.data.fetch.PAUSE", 0)
    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.mood, served.asked = "", []
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.shutdown()
    served.server_close()
    thread.join()


def get(server, root, **more):
    return fetch("tiny", root, url=f"http://127.0.0.1:{server.server_address[1]}/data", **more)


def whole(root) -> bool:
    return all((root / "tiny/python" / name).read_bytes() == body for name, body in FILES.items())


def left_over(root) -> list[str]:
    return [path.name for path in (root / "tiny/python").glob("*.part")]


def test_fetch_and_not_again(server, tmp_path):
    seen = []
    paths = get(server, tmp_path, progress=lambda *now: seen.append(now))
    assert whole(tmp_path)
    assert left_over(tmp_path) == []
    assert [path.name for path in paths] == list(FILES)
    assert seen[-1] == ("b.gz", 5, 5)
    assert max(done for name, done, total in seen if name == "a.gz") == 1_000_000
    asked = len(server.asked)
    get(server, tmp_path)
    assert len(server.asked) == asked


def test_what_is_there_is_left_alone(server, tmp_path):
    (tmp_path / "tiny/python").mkdir(parents=True)
    (tmp_path / "tiny/python/a.gz").write_bytes(b"packed again")
    get(server, tmp_path)
    assert (tmp_path / "tiny/python/a.gz").read_bytes() == b"packed again"
    assert [name for name, _ in server.asked] == ["b.gz"]


def test_a_connection_that_breaks_off_is_taken_up(server, tmp_path):
    server.mood = "breaks off"
    get(server, tmp_path)
    assert whole(tmp_path)
    assert [r for name, r in server.asked if name == "a.gz"] == [
        None,
        "bytes=300000-",
        "bytes=600000-",
        "bytes=900000-",
    ]


def test_a_dead_connection_keeps_what_came_for_the_next_time(server, tmp_path, monkeypatch):
    (tmp_path / "tiny/python").mkdir(parents=True)
    (tmp_path / "tiny/python/a.gz.part").write_bytes(FILES["a.gz"][:400_000])
    server.mood = "sends nothing"
    with pytest.raises(ValueError, match="400000 bytes are kept; run it again to resume"):
        get(server, tmp_path)
    assert not (tmp_path / "tiny/python/a.gz").exists()
    server.mood, server.asked = "", []
    get(server, tmp_path)
    assert server.asked[0] == ("a.gz", "bytes=400000-")
    assert whole(tmp_path)


def test_a_server_that_knows_no_ranges_starts_over(server, tmp_path):
    (tmp_path / "tiny/python").mkdir(parents=True)
    (tmp_path / "tiny/python/a.gz.part").write_bytes(FILES["a.gz"][:400_000])
    server.mood = "no ranges"
    get(server, tmp_path)
    assert whole(tmp_path)
    assert [name for name, _ in server.asked] == ["a.gz", "b.gz"], "at once, not after a wrong checksum"


@pytest.mark.parametrize("stale", [b"of another version", os.urandom(1_000_000), os.urandom(1_000_001)])
def test_a_beginning_of_another_version_is_thrown_away(server, tmp_path, stale):
    (tmp_path / "tiny/python").mkdir(parents=True)
    (tmp_path / "tiny/python/a.gz.part").write_bytes(stale)
    get(server, tmp_path)
    assert whole(tmp_path)


def test_a_finished_part_is_used(server, tmp_path):
    (tmp_path / "tiny/python").mkdir(parents=True)
    (tmp_path / "tiny/python/a.gz.part").write_bytes(FILES["a.gz"])
    get(server, tmp_path)
    assert whole(tmp_path)
    assert [name for name, _ in server.asked].count("a.gz") == 1


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    server.mood = "other bytes"
    with pytest.raises(ValueError, match=r"does not have the published checksum a\.gz, so it was discarded"):
        get(server, tmp_path)
    assert list((tmp_path / "tiny/python").iterdir()) == []


def test_an_md5_is_enough_where_only_that_is_published(server, tmp_path, monkeypatch):
    sums = {"b.gz": ("0" * 64, hashlib.md5(FILES["b.gz"]).hexdigest())}
    monkeypatch.setitem(PUBLISHED, "tiny", Published("tiny", "", sums))
    assert get(server, tmp_path)[0].read_bytes() == FILES["b.gz"]


def test_no_such_file_and_no_server(server, tmp_path, monkeypatch):
    monkeypatch.setitem(PUBLISHED, "tiny", Published("tiny", "http://127.0.0.1:9/", {"c.gz": ("0" * 64,)}))
    with pytest.raises(ValueError, match=r"c\.gz answers 404 Not Found; give url=\.\.\. of a mirror"):
        get(server, tmp_path)
    with pytest.raises(ValueError, match=r"http://127.0.0.1:9/c.gz cannot be had: .*refused; 0 bytes are kept"):
        fetch("tiny", tmp_path)


def test_unknown_names_and_addresses(tmp_path):
    with pytest.raises(ValueError, match="nothing to fetch for 'mnits'; did you mean mnist"):
        fetch("mnits", tmp_path)
    for url in ("file:///etc", "ftp://x", "mirror"):
        with pytest.raises(ValueError, match="begins with http"):
            fetch("mnist", tmp_path, url=url)


def test_underscores_are_hyphens(tmp_path):
    (tmp_path / "fashion-mnist").mkdir()
    for name in PUBLISHED["fashion-mnist"].files:
        (tmp_path / "fashion-mnist" / name).write_bytes(b"")
    assert len(fetch("fashion_mnist", tmp_path)) == 4


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sums_are_sums(name):
    for sums in PUBLISHED[name].files.values():
        assert sums
        assert all(re.fullmatch("[0-9a-f]{32}|[0-9a-f]{64}", known) for known in sums)


@pytest.mark.parametrize("name", PUBLISHED)
def test_real_files_have_the_published_sums(name, data_root):
    folder = data_root(name).parent / PUBLISHED[name].folder
    for file, sums in PUBLISHED[name].files.items():
        content = (folder / file).read_bytes()
        assert {hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest()} & set(sums), file


def test_the_command_fetches_and_prints_the_paths(server, tmp_path, monkeypatch, capsys):
    address = f"http://127.0.0.1:{server.server_address[1]}/data"
    monkeypatch.setitem(PUBLISHED, "tiny", PUBLISHED["tiny"]._replace(url=address))
    command("data", "fetch", "tiny", "--root", str(tmp_path / "here"), monkeypatch=monkeypatch)
    printed = capsys.readouterr().out.split()
    assert printed == [str(tmp_path / "here/tiny/python" / name) for name in FILES]
    assert whole(tmp_path / "here")
    monkeypatch.setenv("LIKEWISE_DATA", str(tmp_path / "home"))
    command("data", "fetch", "tiny", monkeypatch=monkeypatch)
    assert whole(tmp_path / "home")
    capsys.readouterr()
    command("data", "list", monkeypatch=monkeypatch)
    state = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert state["tiny"] == ["here", str(tmp_path / "home/tiny/python")]
    assert state["mnist"] == ["absent", str(tmp_path / "home/mnist")]
    (tmp_path / "home/tiny/python/b.gz").unlink()
    command("data", "list", "--json", monkeypatch=monkeypatch)
    state = json.loads(capsys.readouterr().out)
    assert state["tiny"] == {"path": str(tmp_path / "home/tiny/python"), "here": False}


def test_the_command_names_what_is_near(monkeypatch, capsys):
    assert command("data", "fetch", "mnits", monkeypatch=monkeypatch) == 2
    assert "did you mean mnist" in capsys.readouterr().err


def command(*words: str, monkeypatch) -> int:
    monkeypatch.setattr(sys, "argv", ["likewise", *words])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0
