"""Wrong calls of what is younger than the table in test_gallery: one sentence each, exit code 2, nothing written."""

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from colours import BLUE, GREEN, RED, Colours, coloured, make
from likewise.cli import main
from likewise.gallery import transfer
from likewise.gallery.store import LARGEST_DIM


class Other(Colours):
    path, fingerprint = "other", "07he5"


class Long(Other):
    dim = 70_000


MODELS = {"colours": Colours, "other": Other, "long": Long}


def model(path):
    if str(path) not in MODELS:
        raise ValueError(f"no model at {path}; give a run folder, its model folder, or a model.onnx")
    return MODELS[str(path)]()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for module in ("gallery", "opened", "renewal", "listing"):
        monkeypatch.setattr(f"likewise.gallery.{module}.open_encoder", model)
    for name in MODELS:
        (tmp_path / name).touch()
    (tmp_path / "new").mkdir()
    for i, (name, colour) in enumerate({"red": RED, "green": GREEN, "blue": BLUE}.items()):
        (tmp_path / f"{name}.png").write_bytes(coloured(colour, i))
    (tmp_path / "text").write_text("hello")
    (tmp_path / "t.csv").write_text("image,label,number\nred.png,red,1\n")
    (tmp_path / "bare.csv").write_text("one,two\n1,2\n")
    (tmp_path / "head.csv").write_text("image,label\n")
    (tmp_path / "url.csv").write_text("image,label\nhttps://x.org/a.png,a\n")
    (tmp_path / "broken.npz").write_text("hello")
    np.savez(tmp_path / "v.npz", vectors=np.ones((2, 3)), labels=["a", "b"])
    np.savez(tmp_path / "unlabelled.npz", vectors=np.ones((2, 3)))
    np.savez(tmp_path / "long.npz", vectors=np.ones((2, 4)), labels=["a", "b"])
    with make(tmp_path / "g.gallery", model="colours") as gallery:
        gallery.enroll([tmp_path / "red.png", tmp_path / "green.png"], ["red", "green"], gate="off")
        gallery.enroll_vectors(np.ones((1, 3)), "bare", fingerprint="c0ffee", ids=["bare"], gate="off")
    make(tmp_path / "euclidean.gallery", model="colours", sim="euclidean").close()
    return tmp_path


WRONG = [
    ("upgrade g.gallery", "Missing option '--model'"),
    ("upgrade absent.gallery --model other", "there is no gallery absent.gallery"),
    ("upgrade g.gallery --model absent", "no model at absent; give a run folder"),
    ("upgrade g.gallery --model long", "the model's vectors are 70,000 long and g.gallery holds 65,536"),
    ("upgrade g.gallery --model other", "1 of 3 images of g.gallery cannot follow to the new model (bare: no path"),
    ("upgrade g.gallery --model other --images absent", "there is no file absent"),
    ("upgrade g.gallery --model other --images new", "the given folders contain no images"),
    ("upgrade g.gallery --model other --drop-missing text", "text"),
    ("upgrade g.gallery --model other --drop-missing t.csv", "t.csv"),
    ("suggest g.gallery", "Missing argument 'IMAGES...'"),
    ("suggest g.gallery absent", "there is no file absent"),
    ("suggest g.gallery blue.png", "g.gallery has no threshold; give --far 0.01"),
    ("suggest g.gallery blue.png --far 2", "inside 0 and 1, such as 0.01; got 2"),
    ("suggest g.gallery blue.png --far 0.01", "cannot promise a false-accept rate of 0.01"),
    ("suggest g.gallery blue.png --smallest 1", "smallest is the number of images of a cluster, from 2; got 1"),
    ("search g.gallery red.png --rerank x", "rerank is k-reciprocal or query-expansion; got 'x'"),
    ("search euclidean.gallery red.png --rerank k-reciprocal", "defined for cosine similarity"),
    ("search g.gallery red.png green.png --together sum", "together is mean or best; got 'sum'"),
    ("search g.gallery red.png text", "cannot read text"),
    ("identify g.gallery red.png --together sum", "together is mean or best; got 'sum'"),
    ("enroll g.gallery t.csv blue.png", "t.csv is a list: give it alone, and images in another call"),
    ("enroll g.gallery blue.png --id-column number", "columns and --made-by apply to a CSV"),
    ("enroll g.gallery blue.png --made-by colours", "columns and --made-by apply to a CSV"),
    ("enroll g.gallery absent.csv", "there is no file absent.csv"),
    ("enroll g.gallery bare.csv", "Type: likewise gallery enroll GALLERY bare.csv --image-column"),
    ("enroll g.gallery head.csv", "head.csv has no rows below its first line"),
    ("enroll g.gallery url.csv", "is a URL, and images are read from files only"),
    ("enroll g.gallery t.csv --id-column key", "t.csv has no column 'key'; it has 'image', 'label', 'number'"),
    ("enroll g.gallery t.csv --label-column kind", "has no column 'kind'"),
    ("enroll g.gallery v.npz", "does not say of which model; give the run or model.onnx that made them with --made-by"),
    ("enroll g.gallery v.npz --made-by absent", "no model at absent"),
    ("enroll g.gallery v.npz --made-by other", "of the model 07he5 and the gallery holds those of c0ffee"),
    ("enroll g.gallery unlabelled.npz --made-by colours", "has no labels; give one for all with --label"),
    ("enroll g.gallery long.npz --made-by colours", "the gallery's vectors are 3 long"),
    ("enroll g.gallery broken.npz", "does not read as .npz"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG, ids=[words for words, _ in WRONG])
def test_wrong_calls(folder, monkeypatch, capsys, words, sentence):
    before = {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.suffix in (".csv", ".npz", "") and path.is_file()
    }
    monkeypatch.setattr(sys, "argv", ["likewise", "gallery", *words.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert ended.value.code == 2, err
    assert sentence in err
    assert "Traceback" not in err
    assert out == ""
    assert all((folder / name).read_bytes() == content for name, content in before.items())
    monkeypatch.setattr(sys, "argv", ["likewise", "gallery", "info", "g.gallery", "--json"])
    main_quietly()
    about = json.loads(capsys.readouterr().out)
    assert (about["items"], about["fingerprint"], about["upgrading"]) == (3, "c0ffee", {})


def main_quietly() -> None:
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code


ABOUT = {"dim": 3, "sim": "cosine", "fingerprint": "c0ffee"}


@pytest.mark.parametrize(
    ("about", "without", "sentence"),
    [
        (None, "", "is no export of a gallery"),
        ("no JSON", "", "is no export of a gallery"),
        ({"sim": "cosine"}, "", "is no export of a gallery"),
        (ABOUT | {"dim": "x"}, "", "is no export of a gallery"),
        (ABOUT | {"dim": 0}, "", "is no export of a gallery"),
        (ABOUT | {"dim": -1}, "", "is no export of a gallery"),
        (ABOUT | {"dim": LARGEST_DIM + 1}, "", "is no export of a gallery"),
        *((ABOUT, name, f"has no column '{name}'") for name in (*transfer.TEXTS, "look", "vector")),
        (ABOUT | {"fingerprint": "07he5"}, "", "of the model 07he5 and the gallery holds those of c0ffee"),
        (ABOUT, "length", "has vectors of another length than 3"),
        (ABOUT, "", ""),
        (ABOUT | {"dim": 1}, "", ""),
        (ABOUT | {"dim": LARGEST_DIM}, "", ""),
    ],
)
def test_an_export_is_checked_before_anything_is_written(tmp_path, about, without, sentence):
    columns = {name: ["{}" if name == "metadata" else "x"] for name in transfer.TEXTS}
    columns |= {"look": [b""], "thumbnail": [b""], "vector": [[1.0, 2.0] if without == "length" else [1.0, 2.0, 3.0]]}
    table = pa.table({name: values for name, values in columns.items() if name != without})
    if about is not None:
        text = about if isinstance(about, str) else json.dumps(about)
        table = table.replace_schema_metadata({"likewise_gallery": text})
    pq.write_table(table, tmp_path / "g.parquet")
    with make(tmp_path / "g.gallery") as gallery:
        if sentence:
            with pytest.raises(ValueError, match=sentence):
                transfer.import_(gallery, tmp_path / "g.parquet")
        else:
            assert transfer.import_(gallery, tmp_path / "g.parquet") == 1
        assert len(gallery) == (not sentence)
