"""The gallery on a real run: enroll, search, identify, verify, correct, forget; damaged files and wrong calls."""

import json
import re
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from likewise import Gallery, api
from likewise.cli import main
from likewise.gallery import transfer
from postgres_server import PASSWORD
from small_gallery import DIM, files


def test_search_is_that_of_a_loop(copy, run, images):
    from likewise import Embedder

    paths, labels = files(images)
    emb = Embedder.load(run).embed(paths).numpy()
    with Gallery.open(copy) as gallery:
        hits = gallery.search(paths[7], k=10)
        more = gallery.search(id=hits[0].id, k=9)
    unit = emb / np.linalg.norm(emb, axis=1, keepdims=True)
    order = np.argsort(-(unit @ unit[7]), kind="stable")[:10]
    assert [hit.metadata["n"] for hit in hits] == order.tolist()
    assert [hit.label for hit in hits] == [labels[i] for i in order]
    assert hits[0].similarity == pytest.approx(1, abs=1e-5)
    assert [hit.id for hit in more] == [hit.id for hit in hits[1:]]


def test_filters(copy, images):
    paths, _ = files(images)
    with Gallery.open(copy) as gallery:
        hits = gallery.search(paths[0], k=200, where=["site=a", "n>=10", "label in 3,5"])
        assert hits
        assert all(h.metadata["site"] == "a" and h.metadata["n"] >= 10 and h.label in ("3", "5") for h in hits)
        assert len(gallery.search(paths[0], k=200, where=["absent!=1"])) == 150
        assert gallery.search(paths[0], where=["absent=1"]) == []


def test_a_repeated_enrollment_enrolls_nothing_twice(copy, images):
    paths, labels = files(images)
    with Gallery.open(copy) as gallery:
        again = gallery.enroll(paths[:20], labels[:20])
        assert (again.added, len(again.unchanged), len(gallery)) == ([], 20, 150)
        other = gallery.enroll(paths[:1], "other")
        assert other.added == []
        assert "the same image is enrolled as" in other.findings[0].reason


def test_the_gate_names_what_is_doubtful(copy, images, tmp_path):
    paths, labels = files(images)
    three = next(p for p, label in zip(paths, labels, strict=True) if label == "3")
    Image.open(three).point(lambda x: min(x + 3, 255)).save(tmp_path / "copy.png")
    Image.new("L", (4, 4)).save(tmp_path / "small.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    given = [tmp_path / name for name in ("copy.png", "small.png", "broken.png")]
    with Gallery.open(copy) as gallery:
        result = gallery.enroll(given, "3", gate="strict")
        assert result.added == []
        reasons = {Path(f.source).name: f.reason for f in result.findings}
        assert reasons["copy.png"].startswith("a near copy of")
        assert reasons["small.png"] == "smaller than 8 pixels"
        assert reasons["broken.png"].startswith("cannot read")
        vector = gallery.embed(three)
        wrong = gallery.enroll_vectors(vector * 1.01, "7", fingerprint=gallery.about["fingerprint"], gate="strict")
        assert wrong.added == []
        assert wrong.findings[0].reason.startswith("nearer to class 3")


def test_identify_at_a_promised_rate_and_unknown(copy, images, tmp_path):
    paths, _ = files(images)
    with Gallery.open(copy) as gallery:
        best = gallery.identify(paths[0])
        assert best.label == paths[0].parent.name
        promise = gallery.calibrate(far=0.1)
        assert promise.low <= 0.1
        assert promise.trials == 150
        assert gallery.identify(paths[0]).threshold == promise.threshold
        opposite = -gallery.embed(paths[0])[0]
        for row in gallery.state().index.prepared:
            opposite = opposite - row * max(0.0, float(row @ opposite) / float(row @ row))
        answer = gallery.identify(opposite if np.linalg.norm(opposite) > 1e-3 else -gallery.embed(paths[0])[0])
        assert answer.label is None or answer.similarity >= promise.threshold
        found = gallery.verify(paths[0], paths[0].parent.name)
        assert found["same"]
        assert found["probability"] >= 0.5
        with pytest.raises(ValueError, match=r"cannot promise a false-accept rate of 0\.001"):
            gallery.calibrate(far=0.001)


def test_identifying_below_the_threshold_is_unknown(place, run):
    with Gallery.create(place(), run) as gallery:
        rng = np.random.default_rng(0)
        centres = np.eye(DIM)[:6]
        x = np.repeat(centres, 10, axis=0) + 0.05 * rng.normal(size=(60, DIM))
        gallery.enroll_vectors(x, [f"c{i // 10}" for i in range(60)], fingerprint=gallery.about["fingerprint"])
        gallery.calibrate(far=0.05)
        assert gallery.identify(centres[2].astype(np.float32)).label == "c2"
        unknown = gallery.identify(np.eye(DIM, dtype=np.float32)[7])
        assert (unknown.label, unknown.probability < 0.5) == (None, True)
        assert "stays below the threshold" in unknown.why


def test_a_rejected_class_is_not_given_to_the_image_or_a_near_copy(copy, images, tmp_path):
    paths, labels = files(images)
    near = tmp_path / "near.png"
    Image.open(paths[0]).point(lambda x: min(x + 2, 255)).save(near)
    with Gallery.open(copy) as gallery:
        assert gallery.identify(near).label == labels[0]
        gallery.reject(paths[0], label=labels[0])
        assert gallery.identify(paths[0]).label != labels[0]
        assert gallery.identify(near).label != labels[0]
        assert gallery.identify(paths[1]).label == labels[1]


def test_corrections_and_their_undo(copy):
    with Gallery.open(copy) as gallery:
        before = [tuple(item.values()) for item in gallery.items()]
        ids = [item["id"] for item in gallery.items()][:3]
        assert gallery.rename("3", "three") > 0
        assert gallery.merge("5", "three") > 0
        assert gallery.split(ids, "new") == 3
        assert gallery.remove(ids[:2]) == 2
        assert len(gallery) == 148
        assert [gallery.undo() for _ in range(4)] == ["remove", "split", "merge", "rename"]
        after = [tuple(item.values()) for item in gallery.items()]
        assert sorted(after) == sorted(before)
        assert gallery.undo() == "enroll"
        assert len(gallery) == 0
        with pytest.raises(ValueError, match="nothing to undo"):
            gallery.undo()


def test_forgetting_leaves_no_byte(tmp_path, run, images):
    path = tmp_path / "g.gallery"
    paths, labels = files(images)
    with Gallery.create(path, run) as gallery:
        gallery.enroll(paths[:40], [f"secret-{label}" for label in labels[:40]], ids=[f"id-of-{i}" for i in range(40)])
        label = f"secret-{labels[0]}"
        vectors = [row.vector for row in gallery.store.scan() if row.label == label]
        gallery.rename(label, "secret-renamed")
        gallery.remove(["id-of-0"])
        gallery.undo()
        traces = [b"secret-renamed", label.encode(), b"id-of-0\x00", *vectors]
        held = b"".join(p.read_bytes() for p in tmp_path.iterdir())
        assert any(vector in held for vector in vectors)
        assert gallery.forget("secret-renamed")["erased"]
        held = b"".join(p.read_bytes() for p in tmp_path.iterdir())
        assert not [trace for trace in traces if trace in held and trace != label.encode()]
        assert all(not vector or vector not in held for vector in vectors)
        assert len(gallery) == 40 - len(vectors)


def test_export_and_import_between_the_stores(copy, place, run, tmp_path):
    with Gallery.open(copy) as gallery, Gallery.create(place(), run) as other:
        assert transfer.export(gallery, tmp_path / "all.parquet") == 150
        assert transfer.import_(other, tmp_path / "all.parquet") == 150
        assert transfer.import_(other, tmp_path / "all.parquet") == 0
        assert [row[1:] for row in gallery.store.scan()] == [row[1:] for row in other.store.scan()]
        transfer.export(other, tmp_path / "again.parquet")
    assert (tmp_path / "all.parquet").read_bytes() == (tmp_path / "again.parquet").read_bytes()


def test_two_processes_write_and_readers_see_one_state(copy):
    script = (
        "import sys, numpy as np\nfrom likewise import Gallery\n"
        "g = Gallery.open(sys.argv[1]); rng = np.random.default_rng(int(sys.argv[2]))\n"
        f"for i in range(20): g.enroll_vectors(rng.normal(size=(3, {DIM})), 'p' + sys.argv[2], "
        "fingerprint=g.about['fingerprint'], gate='off')\nassert 'torch' not in sys.modules\n"
    )
    with Gallery.open(copy) as gallery:
        both = [subprocess.Popen([sys.executable, "-c", script, str(copy), str(i)]) for i in (1, 2)]
        while any(process.poll() is None for process in both):
            state = gallery.state()
            assert (len(state.index) - 150) % 3 == 0
        assert [process.returncode for process in both] == [0, 0]
        assert len(gallery) == len(gallery.state().index) == 150 + 2 * 20 * 3


def test_threads_share_a_gallery(copy, images):
    paths, labels = files(images)
    failures = []
    with Gallery.open(copy) as gallery:
        vectors = gallery.embed(paths)

        def work(n: int) -> None:
            try:
                for i in range(n, 60, 4):
                    assert gallery.identify(vectors[i]).label == labels[i]
                    row = vectors[i : i + 1] * (2 + i)
                    gallery.enroll_vectors(row, labels[i], fingerprint=gallery.about["fingerprint"])
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert len(gallery) == 150 + 60


def test_a_flipped_byte_is_an_error_or_changes_nothing(file_copy, images, tmp_path):
    whole, rng = file_copy.read_bytes(), np.random.default_rng(0)
    with Gallery.open(file_copy) as gallery:
        before = list(gallery.store.scan())
    told = []
    for at in rng.integers(0, len(whole), 150).tolist():
        path = tmp_path / "flipped.gallery"
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << int(rng.integers(8)))]) + whole[at + 1 :])
        for rest in ("-wal", "-shm"):
            Path(f"{path}{rest}").unlink(missing_ok=True)
        try:
            with Gallery.open(path) as gallery:
                sound = gallery.check()["sound"]
                same = list(gallery.store.scan()) == before
                assert same or not sound, at
        except ValueError as error:
            told.append(str(error))
    assert told
    assert all("flipped.gallery" in sentence for sentence in told)


def test_a_file_with_a_trigger_is_refused(file_copy):
    with sqlite3.connect(file_copy) as connection:
        connection.execute("CREATE TRIGGER t AFTER INSERT ON items BEGIN DELETE FROM items; END")
    connection.close()
    with pytest.raises(ValueError, match="tables other than a gallery's"):
        Gallery.open(file_copy)


@pytest.mark.slow
def test_a_gallery_of_another_model_is_refused(copy, tmp_path, images):
    recipe = api.load_recipe("digits").replace(size=16, epochs=1, dim=DIM, max_per_class=10, seed=5)
    other = api.train(recipe, out=tmp_path, name="other").path
    with pytest.raises(ValueError, match=r"holds vectors of the model [0-9a-f]{16}, and .* is [0-9a-f]{16}"):
        Gallery.open(copy, other)


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["likewise", "gallery", *map(str, words)])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def test_the_command_line(call, place, run, images):
    paths, labels = files(images)
    at = place()
    assert call("create", at, "--model", run)[0] == 0
    code, out, err = call("enroll", at, images, "--gate", "off", "--json")
    assert (code, len(json.loads(out)["added"])) == (0, 150), err
    assert call("enroll", at, images)[1].startswith("0 enrolled, 150 enrolled before")
    code, out, err = call("calibrate", at, "--far", "0.1")
    assert "promises no FAR of 0.1" in out, err  # the run was trained on these classes
    assert "trained on 10 of these 10 classes" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = call("identify", at, paths[0], "--json")
    assert json.loads(out)[0]["best"] == labels[0]
    assert len(json.loads(call("search", at, paths[0], "--k", "3", "--json")[1])) == 3
    assert json.loads(call("verify", at, paths[0], labels[0], "--json")[1])["same"]
    assert call("rename", at, "3", "three")[0] == 0
    assert call("undo", at)[1] == "undone: rename\n"
    assert call("forget", at, "3")[0] == 0
    assert call("export", at, "all.parquet")[0] == 0
    assert call("check", at)[1].endswith("all sound\n")
    assert json.loads(call("info", at, "--json")[1])["classes"] == 9


WRONG = [
    (("info", "absent.gallery"), "there is no gallery absent.gallery; create one"),
    (("info", "."), "is no file; a gallery is one file"),
    (("info", "text"), "is no gallery: it does not begin as an SQLite file does"),
    (("info", "plain.db"), "is an SQLite file, but no gallery"),
    (("info", "later.gallery"), "has gallery format 9 and this version reads 3; update likewise"),
    (("create", "g", "--model", "absent"), "no model at absent; give a run folder"),
    (("create", "g", "--model", "absent.onnx"), "there is no file absent.onnx"),
    (("create", "no/such/g", "--model", "RUN"), "there is no folder no/such"),
    (("create", "copy.gallery", "--model", "RUN"), "exists already"),
    (("create", "g", "--model", "RUN", "--rule", "nearst"), "no rule named 'nearst'; did you mean nearest"),
    (("enroll", "copy.gallery", "absent.png"), "there is no file absent.png"),
    (("enroll", "copy.gallery", "IMAGE", "--gate", "sharp"), "gate is off, warn, strict; got 'sharp'"),
    (("search", "copy.gallery"), "search needs an image, a vector or an id"),
    (("search", "copy.gallery", "--id", "x"), "there is no id 'x'"),
    (("search", "copy.gallery", "IMAGE", "--k", "0"), "k is the number of results, from 1; got 0"),
    (("search", "copy.gallery", "IMAGE", "--where", "year"), "'year' is not a condition; write KEY=VALUE"),
    (("search", "copy.gallery", "text"), "cannot read text"),
    (("identify", "copy.gallery", "IMAGE", "--far", "2"), "inside 0 and 1, such as 0.01; got 2"),
    (("identify", "copy.gallery", "IMAGE", "--far", "0.0001"), "cannot promise a false-accept rate of 0.0001"),
    (("identify", "copy.gallery", "text"), "cannot read text"),
    (("verify", "copy.gallery", "IMAGE", "absent"), "there is no class 'absent'"),
    (("verify", "copy.gallery", "IMAGE", "3"), "has no threshold; give --far 0.01"),
    (("remove", "copy.gallery", "x"), "there is no id 'x' in copy.gallery; nothing was changed"),
    (("forget", "copy.gallery", "x"), "there is no class 'x'"),
    (("merge", "copy.gallery", "x", "3"), "there is no class 'x'"),
    (("merge", "copy.gallery", "3", "x"), "there is no class 'x'"),
    (("merge", "copy.gallery", "3", "3"), "cannot be merged into itself"),
    (("rename", "copy.gallery", "x", "y"), "there is no class 'x'"),
    (("rename", "copy.gallery", "3", "4"), "there is a class '4' already"),
    (("rename", "copy.gallery", "3", " "), "a label is text that is not empty"),
    (("split", "copy.gallery", "new", "x"), "there is no id 'x'"),
    (("reject", "copy.gallery", "IMAGE"), "either a label or an id"),
    (("reject", "copy.gallery", "IMAGE", "--label", "x"), "there is no class 'x'"),
    (("undo", "empty.gallery"), "there is nothing to undo"),
    (("calibrate", "empty.gallery"), "two are needed; enroll another class"),
    (("calibrate", "copy.gallery", "--rule", "vote(j=1)"), "rule vote takes no 'j'"),
    (("calibrate", "copy.gallery", "--far", "0"), "inside 0 and 1"),
    (("import", "copy.gallery", "absent.parquet"), "there is no file absent.parquet"),
    (("import", "copy.gallery", "text"), "text"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG, ids=lambda x: " ".join(x) if isinstance(x, tuple) else None)
def test_wrong_calls(call, file_copy, run, images, tmp_path, words, sentence):
    (tmp_path / "text").write_text("hello")
    sqlite3.connect(tmp_path / "plain.db").execute("CREATE TABLE t (x)")
    (tmp_path / "later.gallery").write_bytes(file_copy.read_bytes())
    with sqlite3.connect(tmp_path / "later.gallery") as later:
        later.execute("PRAGMA user_version = 9")
    later.close()
    Gallery.create(tmp_path / "empty.gallery", run).close()
    before = {p.name for p in tmp_path.iterdir()} | {"copy.gallery-wal", "copy.gallery-shm"}
    image = files(images)[0][0]
    code, out, err = call(*[{"RUN": run, "IMAGE": image}.get(word, word) for word in words])
    assert code == 2, err
    assert sentence in err
    assert "Traceback" not in err
    assert out == ""
    assert {p.name for p in tmp_path.iterdir() if not p.name.endswith(("-wal", "-shm"))} <= before
    with Gallery.open(file_copy) as gallery:
        assert len(gallery) == 150


@pytest.mark.system
@pytest.mark.parametrize(("words", "sentence"), [call for call in WRONG if "copy.gallery" in call[0]])
def test_wrong_calls_of_a_url(call, url_copy, run, images, tmp_path, words, sentence):
    shown = re.sub(":[^@/]+@", "@", url_copy)
    (tmp_path / "text").write_text("hello")
    known = {"RUN": run, "IMAGE": files(images)[0][0], "copy.gallery": url_copy}
    code, out, err = call(*[known.get(word, word) for word in words])
    assert (code, out) == (2, ""), err
    assert sentence.replace("copy.gallery", shown) in err
    assert PASSWORD not in err
    assert quote(PASSWORD, safe="") not in err
    assert "Traceback" not in err
    with Gallery.open(url_copy) as gallery:
        assert len(gallery) == 150


def test_an_empty_gallery_answers_unknown(run, images, place):
    with Gallery.create(place(), run) as gallery:
        assert gallery.search(files(images)[0][0]) == []
        assert gallery.identify(files(images)[0][0]).label is None


def test_a_locked_file_is_one_sentence(file_copy):
    from likewise.gallery.sqlite import SqliteStore

    blocker = sqlite3.connect(file_copy, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    store = SqliteStore(file_copy, wait=0.1)
    with pytest.raises(ValueError, match="is locked by another process"), store.begin():
        pass
    store.close()
    blocker.close()
