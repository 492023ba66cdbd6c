"""Embedding a corpus: the rows do not depend on the workers, a stopped job goes on, and bad files are named."""

import csv
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from likewise import Gallery, api
from likewise.cli import main
from likewise.embeddings import Embeddings
from likewise.gallery import corpus
from likewise.gallery.corpus import CorpusError, embed_corpus
from likewise.gallery.corpus_part import LONGEST, Embedded, Part, divide, embedded, load, write

pytestmark = pytest.mark.slow  # a training or several processes for each part of it

MEAN = 16


class Lengths:
    """An encoder without a model: a file's length and first byte; one that begins with x cannot be read."""

    dim = 2

    def embed(self, paths):
        held = [Path(path).read_bytes() for path in paths]
        if bad := [path for path, text in zip(paths, held, strict=True) if text.startswith(b"x")]:
            raise ValueError(f"cannot read {bad[0]} as an image")
        return np.array([[len(text), text[0]] for text in held], np.float32)


def written(folder: Path, texts: dict[str, bytes]) -> list[str]:
    for name, text in texts.items():
        (folder / name).write_bytes(text)
    return [str(folder / name) for name in texts]


def test_one_more_file_changes_one_part(tmp_path):
    paths = written(tmp_path, {f"{i:03}.png": b"a" for i in range(300)})
    parts = list(divide(paths, "model", MEAN))
    assert [path for part in parts for path in part.paths] == paths
    assert max(len(part.paths) for part in parts) <= LONGEST * MEAN
    before = {part.name for part in parts}
    assert len(before) == len(parts) > 5
    more = sorted([*paths, *written(tmp_path, {"100b.png": b"a"})])
    assert len({part.name for part in divide(more, "model", MEAN)} - before) in (1, 2)
    assert not {part.name for part in divide(paths, "another", MEAN)} & before


def test_a_changed_file_changes_its_part(tmp_path):
    paths = written(tmp_path, {"a.png": b"a", "b.png": b"b"})
    names = [next(divide(paths, "model", 1 << 30)).name]
    Path(paths[1]).write_bytes(b"bb")
    names.append(next(divide(paths, "model", 1 << 30)).name)
    Path(paths[1]).unlink()
    names.append(next(divide(paths, "model", 1 << 30)).name)
    assert len(set(names)) == 3


@pytest.mark.parametrize("bad", [[], [0], [4], [1, 2], [0, 1, 2, 3, 4]])
def test_files_that_cannot_be_read_are_found(tmp_path, bad):
    paths = written(tmp_path, {f"{i}.png": b"x" if i in bad else b"a" * (i + 1) for i in range(5)})
    found = embedded(Lengths(), paths)
    good = [i for i in range(5) if i not in bad]
    assert found.ids == [paths[i] for i in good]
    assert found.vectors[:, 0].tolist() == [i + 1 for i in good]
    assert found.vectors.shape == (len(good), 2)
    assert [name for name, _ in found.skipped] == [paths[i] for i in bad]
    part = Part("0" * 32, tuple(paths))
    write(found, part.file(tmp_path))
    again = load(part, tmp_path)
    assert (again.ids, again.skipped) == (found.ids, found.skipped)
    assert np.array_equal(again.vectors, found.vectors)


def test_a_damaged_part_does_not_count(tmp_path):
    part = Part("0" * 32, ("a",))
    assert load(part, tmp_path) is None
    write(Embedded(["a"], np.arange(1, 5, dtype=np.float32)[None], []), part.file(tmp_path))
    content = bytearray(part.file(tmp_path).read_bytes())
    place = content.index(np.array([1, 2], np.float32).tobytes())
    content[place + 2] ^= 1
    part.file(tmp_path).write_bytes(content)
    assert load(part, tmp_path) is None
    part.file(tmp_path).write_bytes(content[: len(content) // 2])
    assert load(part, tmp_path) is None


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the disk is full"), (errno.EACCES, "denied")],
)
def test_what_the_system_refuses_is_one_sentence(code, words):
    found = corpus.stopped(OSError(code, os.strerror(code)), Path("out"))
    assert words in str(found).lower()
    assert "call again to resume" in str(found)
    assert found.exit_code == 1


def test_wrong_calls(tmp_path, run, images):
    with pytest.raises(ValueError, match="workers is the number of processes, 1 or more, got 0"):
        embed_corpus(run, [images], tmp_path / "a.parquet", workers=0)
    (tmp_path / "others").mkdir()
    (tmp_path / "others/file").touch()
    with pytest.raises(ValueError, match="holds files of something else"):
        embed_corpus(run, [images], tmp_path / "others")
    with pytest.raises(ValueError, match="is a file"):
        embed_corpus(run, [images], tmp_path / "others/file")


@pytest.fixture
def here(monkeypatch) -> list[str]:
    """Parts are embedded in this process, by lengths of files; the names of those that were."""
    names: list[str] = []

    def engine(model, parts, folder, workers):
        for part in reversed(parts):  # in another order than they come
            names.append(part.name)
            write(embedded(Lengths(), part.paths), part.file(folder))
            yield part

    monkeypatch.setattr(corpus, "open_encoder", lambda model: SimpleNamespace(fingerprint=model))
    monkeypatch.setitem(corpus.ENGINES, "processes", engine)
    return names


@pytest.mark.parametrize("kept", [False, True])
def test_one_table_of_all_parts_in_the_order_of_the_files(tmp_path, here, kept):
    source, told = tmp_path / "images", []
    for name in ("a", "b"):
        (source / name).mkdir(parents=True)
        written(source / name, {f"{i:02}.png": b"x" if i == 7 else name.encode() * (i + 1) for i in range(10)})
    out = tmp_path / ("out" if kept else "out.parquet")
    made = embed_corpus("m", [source], out, by_folder=True, mean=3, progress=lambda *seen: told.append(seen))
    paths = [str(source / name / f"{i:02}.png") for name in "ab" for i in range(10)]
    read = [path for path in paths if not path.endswith("07.png")]
    table = pq.read_table(made.file)
    assert table.column_names == ["id", "label", "class", "split", "vector"]
    assert table["id"].to_pylist() == read
    assert table["class"].to_pylist() == ["a"] * 9 + ["b"] * 9
    assert table["label"].to_pylist() == [0] * 9 + [1] * 9
    assert set(table["split"].to_pylist()) == {"test"}
    assert table["vector"].to_pylist() == [[os.path.getsize(path), ord(Path(path).parent.name)] for path in read]
    assert json.loads(table.schema.metadata[b"likewise"]) == {"classes": ["a", "b"]}
    assert pq.ParquetFile(made.file).metadata.num_row_groups == made.parts == len(here) > 3
    assert (made.images, made.dim, made.reused) == (18, 2, 0)
    listed = made.file.with_name("skipped.csv" if kept else "out.skipped.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in listed] == ["image", *(p for p in paths if p.endswith("07.png"))]
    assert (told[0], told[-1], len(told)) == ((0, 20), (20, 20), made.parts + 1)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    here.clear()
    again = embed_corpus("m", [source / "b"], out, mean=3)
    assert set(pq.read_table(again.file)["class"].to_pylist()) == {""}
    assert again.reused == again.parts - len(here)
    assert (tmp_path / "out" / "parts").is_dir() == kept
    if kept:
        assert len(here) <= 1
        assert len(list((out / "parts").glob("*.parquet"))) == again.parts
    for path in source.rglob("*.png"):
        path.write_bytes(b"x")
    with pytest.raises(ValueError, match="none of 20 files can be read; the first: cannot read"):
        embed_corpus("m", [source], out)


@pytest.mark.slow
def test_the_rows_do_not_depend_on_the_workers(tmp_path, run, images):
    plain = api.embed(run, [images])
    found = {}
    for workers in (1, 2):
        made = embed_corpus(run, [images], tmp_path / f"{workers}.parquet", workers=workers, mean=MEAN)
        assert (made.images, made.dim, made.reused, made.skipped) == (len(plain), plain.vectors.shape[1], 0, [])
        assert made.parts > 3
        found[workers] = pq.read_table(made.file)
    assert found[1].equals(found[2])
    assert {path.name for path in tmp_path.iterdir()} == {"1.parquet", "2.parquet"}
    again = Embeddings.load(tmp_path / "2.parquet")
    assert again.ids == plain.ids
    assert (again.vectors - plain.vectors).abs().max() < 1e-5


@pytest.mark.slow
def test_a_folder_keeps_its_parts_and_the_gallery_takes_the_result(tmp_path, run, images):
    source, out = tmp_path / "images", tmp_path / "out"
    shutil.copytree(images, source)
    first = embed_corpus(run, [source], out, workers=2, by_folder=True, mean=MEAN)
    written_at = first.file.stat().st_mtime_ns
    assert {path.name for path in out.iterdir()} == {"parts", "embeddings.parquet"}
    again = embed_corpus(run, [source], out, by_folder=True, mean=MEAN)
    assert again.reused == again.parts == first.parts
    assert again.file.stat().st_mtime_ns > written_at

    bad = next(source.rglob("*.png"))
    bad.write_bytes(b"no image")
    Image.new("L", (16, 16)).save(source / bad.parent.name / "new.png")
    third = embed_corpus(run, [source], out, by_folder=True, mean=MEAN)
    assert 0 < third.parts - third.reused <= 3
    assert third.images == first.images
    assert len(list((out / "parts").iterdir())) == third.parts
    listed = csv.DictReader((out / "skipped.csv").read_text().splitlines())
    assert [row["image"] for row in listed] == [str(bad)]
    with Gallery.create(tmp_path / "g.gallery", run) as gallery:
        assert len(gallery.enroll_listed(third.file, made_by=run).added) == third.images
        labels = {item["label"] for item in gallery.items()}
    assert labels == {path.name for path in source.iterdir()}


@pytest.mark.slow
def test_a_worker_that_cannot_write(tmp_path, run, images):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))
    try:
        with pytest.raises(CorpusError, match="File too large; fix that and call again to resume"):
            embed_corpus(run, [images], tmp_path / "a.parquet", mean=MEAN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "a.parquet").exists()
    assert embed_corpus(run, [images], tmp_path / "a.parquet", mean=MEAN).images == 150


def children(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task/{process}/children")
    return [int(word) for word in listed.read_text().split()] if listed.exists() else []


SCRIPT = """
import sys
from pathlib import Path
from likewise.gallery.corpus import embed_corpus
if __name__ == "__main__":
    print(embed_corpus(sys.argv[1], [sys.argv[2]], sys.argv[3], workers=2, mean=4).reused)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("who", ["parent", "worker"])
def test_a_killed_job_goes_on_and_gives_the_same_rows(tmp_path, run, images, who):
    script = tmp_path / "job.py"
    script.write_text(SCRIPT)
    out, parts = tmp_path / "a.parquet", tmp_path / "a.parquet.parts"
    job = subprocess.Popen([sys.executable, script, run, images, out], stderr=subprocess.PIPE, text=True)
    while job.poll() is None and len(list(parts.glob("*.parquet"))) < 2:
        time.sleep(0.01)
    workers = [child for child in children(job.pid) if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert workers
    os.kill(job.pid if who == "parent" else workers[0], signal.SIGKILL)
    _, told = job.communicate(timeout=100)
    if who == "worker":
        assert "a worker has ended without a result" in told
    for worker in workers:
        for _ in range(1000):  # they end with their parent
            if not Path(f"/proc/{worker}").exists():
                break
            time.sleep(0.01)
        assert not Path(f"/proc/{worker}").exists()
    assert not out.exists()
    made = embed_corpus(run, [images], out, workers=2, mean=4)
    assert made.reused >= 2
    assert pq.read_table(out).equals(pq.read_table(embed_corpus(run, [images], tmp_path / "b.parquet", mean=4).file))
    assert {path.name for path in tmp_path.iterdir()} == {"job.py", "a.parquet", "b.parquet"}


def command(monkeypatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["likewise", "embed", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


@pytest.mark.slow
def test_the_command(tmp_path, run, images, monkeypatch, capsys):
    (tmp_path / "bad.png").write_bytes(b"no image")
    words = (run, images, tmp_path / "bad.png", "-o", tmp_path / "out", "--workers", 2)
    assert command(monkeypatch, *words) == 0
    told = capsys.readouterr()
    assert f"left out {tmp_path / 'bad.png'}: cannot read" in told.err
    assert "150 images, 1 left out, 8 numbers each" in told.out
    assert command(monkeypatch, *words) == 0
    assert "parts were there" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--workers", "-1", "x"], ["--workers", "2"], ["--by-folder", "x"]])
def test_a_wrong_command(words, monkeypatch, capsys):
    assert command(monkeypatch, "runs/x", *words) == 2
    assert "--workers is 1 or more" in capsys.readouterr().err
