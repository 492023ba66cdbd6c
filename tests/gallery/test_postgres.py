"""What only PostgreSQL can do wrong: servers that go away, rights, versions, passwords, what is left on its disk."""

import sys
import threading
import traceback
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from colours import make
from cutting_proxy import Proxy
from likewise import Gallery
from likewise.cli import main
from likewise.gallery import attachments, enrollment
from likewise.gallery import gallery as gallery_module
from likewise.gallery.address import parse
from likewise.gallery.index import prepare, similarities
from likewise.gallery.layout import ADDED, FORMAT
from likewise.gallery.store import DamagedError, StoreError
from postgres_server import PASSWORD
from small_gallery import DIM, create, enroll, item

pytestmark = pytest.mark.system
SECRETS = (PASSWORD, quote(PASSWORD, safe=""))


class Pixels:
    """A model whose vector of an image is its pixels."""

    path, fingerprint, dim, sim, info = "pixels", "none", DIM, "cosine", {}

    def __init__(self, before=lambda: None):
        self.before = before

    def embed(self, paths) -> np.ndarray:
        self.before()
        return np.stack([np.asarray(Image.open(path), np.float32).ravel()[:DIM] for path in paths])


@pytest.fixture
def pictures(tmp_path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(path)
    return paths


# errors of a call


def unreachable(server, name: str) -> str:
    """A URL that cannot be opened, by what is wrong with it."""
    url = server.url("wrong_calls")
    return {
        "no server": url.replace(str(server.port), "1"),
        "no host": url.replace("127.0.0.1", "no.such.host.invalid"),
        "no socket": f"postgresql://owner@/postgres?gallery=wrong_calls&host={server.folder}/no",
        "wrong password": server.url("wrong_calls", password="wrong" + PASSWORD),
        "no password": server.url("wrong_calls", password=""),
        "no user": server.url("wrong_calls", user="nobody"),
        "no database": server.url("wrong_calls", database="none"),
        "no gallery": server.url("wrong_cals"),
        "no pgvector": server.url("wrong_calls", database="template1"),
        "wrong setting": url + "&sslmode=sure",
    }[name]


SENTENCES = {
    "no server": "@127.0.0.1:1/postgres?gallery=wrong_calls cannot be reached (Connection refused); check host, port",
    "no host": "cannot be reached (",
    "no socket": "cannot be reached (No such file or directory)",
    "wrong password": "refuses the connection (FATAL:  password authentication failed",
    "no password": "asks for a password and none was given; set PGPASSWORD or write ~/.pgpass",
    "no user": "refuses the connection (",
    "no database": '(FATAL:  database "none" does not exist); check database, user and password',
    "no gallery": "there is no gallery postgresql://owner@127.0.0.1",
    "no pgvector": "there is no gallery postgresql://owner@127.0.0.1",
    "wrong setting": 'sslmode value: "sure"',
}


@pytest.fixture
def shell(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "no.pgpass"))

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["likewise", "gallery", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        out = capsys.readouterr()
        return int(ended.value.code or 0), out.out, out.err

    return run


@pytest.mark.parametrize("what", SENTENCES)
def test_a_database_that_cannot_be_used_is_one_sentence_without_the_password(server, shell, logged, what):
    if what == "no gallery":
        create(server.url("wrong_calls_2")).close()
    code, out, err = shell("info", unreachable(server, what))
    assert (code, out) == (2, "")
    assert SENTENCES[what] in err
    assert err.count("\n") == 1
    with pytest.raises(ValueError) as caught:
        Gallery.open(unreachable(server, what))
    told = err + str(logged) + "".join(traceback.format_exception(caught.value)) + repr(caught.value.__context__)
    assert not [secret for secret in SECRETS if secret in told]


def test_the_password_is_never_shown(server, shell, logged, monkeypatch):
    url = server.url("secret")
    with create(url) as gallery:
        enroll(gallery, ["a", "b"])
        told = [repr(gallery.store.address), repr(gallery.store.connection), gallery.store.url, str(gallery.info())]
        told += [str(gallery.store.audit()), str(gallery.check())]
    for words in (("info", url), ("info", url, "--json"), ("check", url), ("remove", url, "x"), ("info", "a", url)):
        told += map(str, shell(*words))
    monkeypatch.setenv("LIKEWISE_TRACEBACK", "1")
    monkeypatch.setattr(sys, "argv", ["likewise", "gallery", "forget", url, "nothing"])
    with pytest.raises(ValueError, match="there is no class") as caught:
        main()
    told += traceback.format_exception(caught.value)
    assert any("gallery=secret" in text for text in told)
    assert not [text for text in [*told, *logged] for secret in SECRETS if secret in text]


def test_the_password_of_the_environment_is_used(server, shell, monkeypatch):
    create(server.url("environment")).close()
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    code, out, err = shell("info", server.url("environment", password=""))
    assert (code, err) == (0, "")
    assert "items: 0" in out


def test_without_psycopg_the_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("psycopg", "likewise.gallery.postgres"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"needs psycopg, which is not installed; run: pip install .*\[gallery"
    ):
        Gallery.open("postgresql://ann@127.0.0.1/birds?gallery=g")


# rights, versions


@pytest.fixture
def reader(server):
    """A user who may read the gallery `shared`, and nothing else."""
    with create(server.url("shared")) as gallery:
        enroll(gallery, ["a", "b"])
    server.run(
        "CREATE ROLE reader LOGIN PASSWORD 'read'",
        "GRANT USAGE ON SCHEMA likewise_shared TO reader",
        "GRANT SELECT ON ALL TABLES IN SCHEMA likewise_shared TO reader",
    )
    yield lambda gallery, database="postgres": server.url(gallery, user="reader", password="read", database=database)
    server.run("DROP OWNED BY reader", "DROP SCHEMA likewise_shared CASCADE", "DROP ROLE reader")


def test_rights_are_those_of_the_server(server, reader):
    with Gallery.open(reader("shared")) as gallery:
        assert len(gallery.search(np.ones(DIM, np.float32))) == 2
        for write in (lambda: enroll(gallery, ["c"], seed=1), lambda: gallery.forget("a"), gallery.vacuum):
            with pytest.raises(ValueError, match=r"cannot be used so by this user: permission denied for table format"):
                write()
        assert len(gallery) == 2
    server.run("GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA likewise_shared TO reader")
    with Gallery.open(reader("shared")) as gallery:
        assert enroll(gallery, ["c"], seed=1)
        assert gallery.rename("a", "d") == 1
        assert gallery.undo() == "rename"
        assert gallery.forget("c")["erased"] is False  # the rows are gone; the pages are the owner's
        assert len(gallery) == 2
    create(server.url("closed")).close()
    with pytest.raises(ValueError, match=r"gallery=closed is another user's; its owner grants USAGE"):
        Gallery.open(reader("closed"))
    with pytest.raises(ValueError, match=r"permission denied for database postgres; ask its owner"):
        create(reader("mine"))
    with pytest.raises(ValueError, match=r"has no pgvector, and this user may not add it; its owner runs once: CREATE"):
        create(reader("mine", "template1"))


def test_a_server_without_pgvector_says_so(server, monkeypatch):
    from likewise.gallery import postgres_tables

    monkeypatch.setattr(postgres_tables, "AVAILABLE", "SELECT WHERE false")
    with pytest.raises(ValueError, match="the server has no pgvector; install it there"):
        create(server.url("mine", database="template1"))


def test_a_server_that_takes_no_writes_is_searched(server):
    url = server.url("standby")
    with create(url) as gallery:
        enroll(gallery, ["a"])
    server.run(
        "CREATE ROLE still LOGIN SUPERUSER PASSWORD 'still'", "ALTER ROLE still SET default_transaction_read_only = on"
    )
    with Gallery.open(server.url("standby", user="still", password="still")) as gallery:
        assert gallery.search(np.ones(DIM, np.float32))[0].label == "a"
        with pytest.raises(ValueError, match="cannot be written: the server takes no writes"):
            enroll(gallery, ["b"], seed=1)


def test_an_older_layout_is_migrated_and_a_later_one_refused(server, monkeypatch):
    from likewise.gallery import postgres_tables

    url = server.url("old")
    with create(url) as early:
        enroll(early, ["a"])
        now = postgres_tables.FORMAT
        monkeypatch.setattr(postgres_tables, "FORMAT", now + 2)
        steps = {now: ("ALTER TABLE items ADD COLUMN note TEXT",), now + 1: ("CREATE TABLE later (x TEXT)",)}
        monkeypatch.setattr(postgres_tables, "MIGRATIONS", steps)
        with Gallery.open(url) as gallery:
            assert gallery.store.run("SELECT note FROM items") == [(None,)]
            assert gallery.store.run("SELECT version FROM format") == [(now + 2,)]
            enroll(gallery, ["b"], seed=1)
        Gallery.open(url).close()
        monkeypatch.undo()
        sentence = rf"gallery=old has gallery format {now + 2} and this version reads {now}; update likewise"
        with pytest.raises(ValueError, match=sentence):
            enroll(early, ["c"], seed=2)
    with pytest.raises(ValueError, match=sentence):
        Gallery.open(url)


def test_a_gallery_of_format_1_gains_the_later_tables(server):
    url = server.url("first_format")
    with create(url) as gallery:
        enroll(gallery, ["a", "b"])
        before = list(gallery.store.scan())
    tables = ", ".join(f"likewise_first_format.{name}" for names in ADDED.values() for name in names)
    server.run(f"DROP TABLE {tables}", "UPDATE likewise_first_format.format SET version = 1")
    with Gallery.open(url) as gallery:
        assert list(gallery.store.scan()) == before
        assert gallery.store.run("SELECT version FROM format") == [(FORMAT,)]
        assert [gallery.store.run(f"SELECT count(*) FROM {name}") for name in ADDED[2]] == [[(0,)]] * len(ADDED[2])


def test_a_migration_that_fails_leaves_the_layout_as_it_was(server, monkeypatch):
    from likewise.gallery import postgres_tables

    url = server.url("old_2")
    create(url).close()
    now = postgres_tables.FORMAT
    monkeypatch.setattr(postgres_tables, "FORMAT", now + 1)
    monkeypatch.setattr(postgres_tables, "MIGRATIONS", {now: ("CREATE TABLE later (x TEXT)", "SELECT 1 / 0")})
    with pytest.raises(ValueError, match="division by zero"):
        Gallery.open(url)
    monkeypatch.undo()
    with Gallery.open(url) as gallery:
        assert gallery.store.run("SELECT to_regclass('later')::text") == [(None,)]


def test_a_gallery_that_was_removed_is_one_sentence(server):
    with create(server.url("dropped")) as gallery:
        server.run("DROP SCHEMA likewise_dropped CASCADE")
        with pytest.raises(DamagedError, match=r"damaged or was removed \(relation .* does not exist\)"):
            len(gallery)


def test_galleries_of_a_database_are_apart(server):
    with create(server.url("one")) as one, create(server.url("One")) as other, create(server.url("one_")) as third:
        enroll(one, ["a", "b"])
        enroll(other, ["c"])
        one.forget("a")
        assert [len(gallery) for gallery in (one, other, third)] == [1, 1, 0]
    with pytest.raises(ValueError, match="gallery=one exists already"):
        create(server.url("one"))


def test_vectors_longer_than_pgvector_takes_are_refused(server, monkeypatch):
    large = Pixels()
    large.dim = 16_001
    monkeypatch.setattr(gallery_module, "open_encoder", lambda model: large)
    with pytest.raises(ValueError, match=r"vectors are 16,001 long and .* holds 16,000"):
        Gallery.create(server.url("long"), "a model")
    with pytest.raises(ValueError, match="there is no gallery"):
        Gallery.open(server.url("long"))


# a server that goes away


def test_an_enrollment_goes_on_when_the_server_comes_back(server, pictures, monkeypatch):
    monkeypatch.setattr(enrollment, "PIECE", 4)
    with create(server.url("back")) as gallery:
        gallery.encoder = Pixels(lambda: (server.kill(), server.start()))  # between the search for copies and the write
        result = gallery.enroll(pictures, "a")
        assert len(result.added) == len(gallery) == 12
        assert gallery.enroll(pictures, "a").added == []


def test_a_write_that_the_server_did_not_end_is_repeated_by_the_caller(server, pictures, monkeypatch):
    monkeypatch.setattr(enrollment, "PIECE", 4)
    with create(server.url("cut")) as gallery:
        gallery.encoder, put, calls = Pixels(), gallery.store.put, []

        def dying(items):
            added = put(items)
            calls.append(added)
            if len(calls) == 2:
                server.kill()
                server.start()
            return added

        monkeypatch.setattr(gallery.store, "put", dying)
        with pytest.raises(StoreError, match=r"lost; what was answered is kept; repeat the call") as lost:
            gallery.enroll(pictures, "a")
        assert lost.value.exit_code == 1
        assert [row.id for row in gallery.store.scan()] == calls[0]
        again = gallery.enroll(pictures, "a")
        assert (again.unchanged, len(again.added), len(gallery)) == (calls[0], 8, 12)
        assert gallery.check()["sound"]


def test_a_search_goes_on_when_the_server_comes_back(server, monkeypatch):
    with create(server.url("reading")) as gallery, Gallery.open(server.url("reading")) as writer:
        enroll(gallery, ["a"] * 3)
        enroll(writer, ["b"] * 3, seed=1)
        scan, calls = gallery.store.scan, []

        def dying(after=0):
            for row in scan(after):
                calls.append(row.id)
                if len(calls) == 2:
                    server.kill()
                    server.start()
                    gallery.store.run("SELECT 1")
                yield row

        monkeypatch.setattr(gallery.store, "scan", dying)
        found = gallery.search(np.ones(DIM, np.float32), k=9)
        assert sorted(hit.label for hit in found) == ["a"] * 3 + ["b"] * 3
        assert len(calls) > 3


def test_a_server_that_stays_away_is_one_sentence(server):
    with create(server.url("away")) as gallery:
        enroll(gallery, ["a"])
        gallery.store.wait = 0.2
        server.stop()
        try:
            for call in (lambda: enroll(gallery, ["b"], seed=1), lambda: len(gallery), lambda: list(gallery.items())):
                with pytest.raises(ValueError, match=r"cannot be reached \(Connection refused\)"):
                    call()
        finally:
            server.start()
        assert enroll(gallery, ["b"], seed=1)
        assert len(gallery) == 2


@pytest.mark.parametrize("how", ["before", "after"])
def test_whether_a_write_was_kept_is_known_when_its_commit_was_cut_off(server, how):
    url = server.url(f"cut_{how}")
    with create(url) as direct, Proxy(server.port, b"COMMIT\0") as proxy:
        enroll(direct, ["z"])
        with Gallery.open(url.replace(str(server.port), str(proxy.port))) as gallery:
            before = gallery.store.version()
            proxy.cut = how
            if how == "before":
                with pytest.raises(StoreError, match="what was answered is kept; repeat the call"):
                    enroll(gallery, ["a"], seed=1)
                assert gallery.store.version() == before
            else:
                assert len(enroll(gallery, ["a"], seed=1)) == 1
                assert gallery.store.version().revision == before.revision + 1
            assert len(gallery) == len(direct) == 1 + (how == "after")
            assert gallery.undo() == "enroll"


def test_where_it_cannot_be_known_that_is_said(server):
    url = server.url("unknown")
    with create(url) as direct, Proxy(server.port, b"COMMIT\0") as proxy:
        enroll(direct, ["z"])
        with Gallery.open(url.replace(str(server.port), str(proxy.port))) as gallery:
            gallery.store.wait = 0.2
            proxy.cut = "after"
            proxy.refuses = True
            with pytest.raises(StoreError, match="it may be kept or not; look, or repeat the call"):
                enroll(gallery, ["a"], seed=1)
        assert len(direct) == 2
        assert enroll(direct, ["a"], seed=1) == []


# erasing, and writing beside it


def test_nothing_of_a_forgotten_class_is_left_in_the_tables(server):
    with create(server.url("forgetting")) as gallery:
        told = [{"note": f"a-remark-on-{i}"} for i in range(40)]
        labels = [f"secret-{i % 2}" for i in range(40)]
        ids = enroll(gallery, labels, seed=777, ids=[f"id-of-{i}-" for i in range(40)], metadata=told)
        vectors = [row.vector for row in gallery.store.scan() if row.label == "secret-0"]
        query = np.arange(DIM, dtype=np.float32) + 0.5
        gallery.reject(query, label="secret-0")
        gallery.remove(ids[:2])
        gallery.undo()
        gallery.rename("secret-0", "secret-renamed")
        server.run("ANALYZE")
        traces = [b"secret-0", b"secret-renamed", b"id-of-6-", b"a-remark-on-6", query.tobytes(), *vectors]
        held = server.pages()
        assert [trace in held for trace in traces] == [True] * len(traces)
        found = gallery.forget("secret-renamed")
        assert (found["removed"], found["erased"]) == (20, True)
        assert "write-ahead log" in found["beyond"]
        server.run("ANALYZE")
        held = server.pages()
        left = [trace for trace in traces[1:] if trace in held]
        assert left == []
        assert b"secret-1" in held
        assert len(gallery) == 20


def test_a_thumbnail_of_a_forgotten_class_is_not_left_either(server, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for i, path in enumerate(paths):
        noise = np.random.default_rng(50 + i).integers(0, 256, (300, 300, 3), np.uint8)
        Image.fromarray(noise).save(path)
    with make(server.url("thumbnails")) as gallery:
        gallery.enroll(paths, ["a", "b"], gate="off")
        kept = {row.label: attachments.thumbnail(gallery.store, row.content) for row in gallery.store.scan()}
        assert [kept[label][1000:1100] in server.pages() for label in "ab"] == [True, True]
        assert gallery.forget("a")["erased"]
        assert [kept[label][1000:1100] in server.pages() for label in "ab"] == [False, True]


def test_writing_beside_vacuum_and_search_is_exact(server):
    url, failures, done = server.url("beside"), [], threading.Event()

    def keep(call) -> None:
        try:
            with Gallery.open(url) as gallery:
                call(gallery)
        except BaseException as error:
            failures.append(error)

    def write(gallery: Gallery) -> None:
        for i in range(25):
            ids = enroll(gallery, ["a", "b", "c"], seed=i)
            if i % 3 == 0:
                gallery.remove(ids[:1])
        done.set()

    def vacuum(gallery: Gallery) -> None:
        while not done.is_set():
            gallery.vacuum()

    def search(gallery: Gallery) -> None:
        query_1D = np.ones((1, DIM), np.float32)
        while not done.is_set():
            state = gallery.state()
            found = state.index.search(query_1D, 5)
            with gallery.store.reading():
                rows = list(gallery.store.scan())
                same = gallery.store.version() == state.version
            if same and rows:
                stored = np.stack([np.frombuffer(row.vector, "<f4") for row in rows])
                sims = similarities(query_1D, prepare(stored, "cosine"), "cosine")[0]
                best = np.sort(sims)[::-1][:5]
                assert found.sim[0][: len(best)] == pytest.approx(best, abs=1e-6)

    with create(url) as gallery:
        enroll(gallery, ["z"], seed=99)
        threads = [threading.Thread(target=keep, args=(call,)) for call in (write, vacuum, search)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert len(gallery) == 1 + 25 * 3 - 9
        assert gallery.check()["sound"]


def test_a_vector_that_was_changed_on_the_server_is_noticed(server):
    with create(server.url("changed")) as gallery:
        with gallery.store.begin():
            gallery.store.put([item("a"), item("b")])
        assert gallery.check()["sound"]
        gallery.store.run("UPDATE items SET vector = '[1,2,3]' WHERE id = 'b'")
        assert gallery.check()["problems"] == ["item 'b' is damaged"]
    with Gallery.open(server.url("changed")) as gallery, pytest.raises(DamagedError, match="item 'b' is damaged"):
        gallery.search(np.ones(DIM, np.float32))


def test_settings_of_a_url_reach_the_server_and_a_write_waits_for_the_disk(server):
    url = server.url("settings", database="postgres") + "&application_name=the-app&connect_timeout=3"
    server.run("ALTER DATABASE postgres SET synchronous_commit = off")
    try:
        with create(url) as gallery:
            names = ("application_name", "search_path", "synchronous_commit", "lock_timeout")
            found = [gallery.store.run("SELECT current_setting(?)", (name,))[0][0] for name in names]
    finally:
        server.run("ALTER DATABASE postgres RESET synchronous_commit")
    assert found == ["the-app", '"likewise_settings"', "on", "30s"]
    assert parse(url).settings["connect_timeout"] == "3"


def test_of_many_who_create_one_gallery_one_does(server):
    server.run('CREATE DATABASE "racing"')
    told: list[str] = []

    def make(name: str) -> None:
        try:
            create(server.url(name, database="racing")).close()
            told.append("made")
        except ValueError as error:
            told.append(str(error).partition("gallery=")[2])

    threads = [threading.Thread(target=make, args=(name,)) for name in ["one"] * 4 + ["two", "three"]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    exists = "one exists already; open it, or choose another name"
    assert sorted(told) == ["made"] * 3 + [exists] * 3
