"""Enrolling what a file lists: tables of images with ids and metadata, arrays and Parquet of vectors."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from colours import BLUE, GREEN, RED, Colours, coloured, make
from likewise.embeddings import Embeddings
from likewise.gallery import listing


@pytest.fixture
def gallery(tmp_path):
    for name, colour in {"a": RED, "b": GREEN, "c": BLUE}.items():
        (tmp_path / f"{name}.png").write_bytes(coloured(colour, ord(name)))
    with make(tmp_path / "g.gallery") as made:
        yield made


def rows(gallery) -> list[dict]:
    listed = [item | {"metadata": json.loads(item["metadata"])} for item in gallery.items()]
    return sorted(listed, key=lambda item: item["id"])


def test_a_table_by_its_usual_names(gallery, tmp_path):
    (tmp_path / "t.csv").write_text(
        "File Name,Class,Image ID,group,year,site,split\n"
        "a.png,red,one,g1,1999,pond,train\nb.png,green,two,g2,2003.5,,test\n"
        "absent.png,blue,three,g2,1,x,test\nc.png,,four,g2,1,x,test\n,blue,five,g2,1,x,test\nc.png,blue\n"
    )
    steps: list[tuple[int, int]] = []
    found = gallery.enroll_listed(tmp_path / "t.csv", progress=lambda *step: steps.append(step))
    assert found.added == ["one", "two"]
    assert steps == [(3, 3)]
    one, two = rows(gallery)
    assert (one["label"], one["group"], one["path"]) == ("red", "g1", str(tmp_path / "a.png"))
    assert one["metadata"] == {"year": 1999, "site": "pond", "split": "train"}
    assert two["metadata"] == {"year": 2003.5, "split": "test"}
    assert [hit.id for hit in gallery.search(tmp_path / "a.png", where=["year>=2000"])] == ["two"]
    reasons = [(Path(f.source).name, f.reason) for f in found.findings]
    assert reasons[:3] == [
        ("c.png", "line 5 has no label"),
        ("line 6", "line 6 has no image"),
        ("c.png", "line 7 has no id"),
    ]
    assert "absent.png" in reasons[3][1]
    again = gallery.enroll_listed(tmp_path / "t.csv")
    assert (again.added, again.unchanged) == ([], ["one", "two"])


def test_columns_by_name_and_one_label_for_all(gallery, tmp_path):
    (tmp_path / "t.tsv").write_text("path\tspecies\tnumber\na.png\tred\t7\nb.png\tgreen\t8\n")
    gallery.enroll_listed(tmp_path / "t.tsv", label="all", columns={"id": "number"})
    assert [(item["id"], item["label"], item["metadata"]) for item in rows(gallery)] == [
        ("7", "all", {"species": "red"}),
        ("8", "all", {"species": "green"}),
    ]


def test_a_parquet_table(gallery, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = {"image": ["a.png", "b.png"], "label": ["red", "green"], "id": [5, 6], "year": [2001.0, None]}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    gallery.enroll_listed(tmp_path / "t.parquet")
    assert [(item["id"], item["metadata"]) for item in rows(gallery)] == [("5", {"year": 2001}), ("6", {})]


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr(listing, "open_encoder", lambda path: Colours())


def test_vectors_of_an_npz(gallery, tmp_path, model):
    x = np.array([[1, 0, 0], [0, 1, 0]], np.float64)
    np.savez(tmp_path / "v.npz", Vectors=x, labels=["red", "green"], ids=[3, 4], groups=["g", "h"], other=1)
    found = gallery.enroll_listed(tmp_path / "v.npz", made_by="run")
    assert found.added == ["3", "4"]
    assert [(item["label"], item["group"]) for item in rows(gallery)] == [("red", "g"), ("green", "h")]
    assert gallery.search(x[1].astype(np.float32), k=1)[0].id == "4"


def test_vectors_of_embed(gallery, tmp_path, model):
    kept = Embeddings(torch.eye(3), torch.tensor([1, 0, 1]), ("a", "b", "c"), torch.zeros(3).byte(), ("x", "y"))
    kept.save(tmp_path / "e.parquet")
    gallery.enroll_listed(tmp_path / "e.parquet", made_by="run")
    assert [(item["id"], item["label"]) for item in rows(gallery)] == [("a", "y"), ("b", "x"), ("c", "y")]


WRONG = {
    "t.csv": ("a.png,b\n1,2\n", {}, r"has no column of images .*likewise gallery enroll GALLERY"),
    "head.csv": ("image,label\n", {}, "has no rows below its first line"),
    "url.csv": ("image,label\nhttp://x/a.png,b\n", {}, "is a URL"),
    "id.csv": ("image,label\na.png,b\n", {"id": "key"}, "has no column 'key'; it has 'image', 'label'"),
    "col.csv": ("image,label\na.png,b\n", {"label": "", "image": "x"}, "has no column 'x'"),
    "kind.csv": ("image,label\na.png,b\n", {"year": "x"}, "columns are image, label, id and group; got 'year'"),
    "t.txt": ("image,label\n", {}, "is not a list of images or vectors; it ends in .csv"),
    "t.npz": ("hello", {}, "does not read as .npz"),
    "t.parquet": ("hello", {}, "Parquet"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_lists(gallery, tmp_path, name):
    text, columns, sentence = WRONG[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=sentence):
        gallery.enroll_listed(tmp_path / name, columns=columns)
    assert len(gallery) == 0


ARRAYS = [
    ({"y": np.zeros(2)}, "and no vectors"),
    ({"vectors": np.zeros((2, 3))}, "has no labels; give one for all with --label"),
    ({"vectors": np.zeros((2, 3)), "labels": np.zeros(2)}, "labels are texts or whole numbers"),
    ({"vectors": np.zeros((2, 3)), "labels": np.zeros((2, 1), int)}, "labels are texts or whole numbers"),
    ({"vectors": np.zeros(2), "labels": [1, 2]}, r"vectors are numbers \[N, D\]"),
    ({"vectors": np.array([["a"]]), "labels": [1]}, r"vectors are numbers \[N, D\]"),
    ({"vectors": np.zeros((2, 4)), "labels": [1, 2]}, "the gallery's vectors are 3 long"),
    ({"vectors": np.full((2, 3), np.nan), "labels": [1, 2]}, "NaN or infinity"),
    ({"vectors": np.ones((2, 3)), "labels": [1, 2, 3]}, "got 3 for 2 images"),
    ({"vectors": np.array([None]), "labels": [1]}, "does not read as .npz"),
]


@pytest.mark.parametrize(("arrays", "sentence"), ARRAYS, ids=[sentence for _, sentence in ARRAYS])
def test_wrong_arrays(gallery, tmp_path, model, arrays, sentence):
    np.savez(tmp_path / "v.npz", **arrays)
    with pytest.raises(ValueError, match=sentence):
        gallery.enroll_listed(tmp_path / "v.npz", made_by="run")
    assert len(gallery) == 0


def test_vectors_of_an_unsaid_or_another_model_are_refused(gallery, tmp_path, monkeypatch):
    np.savez(tmp_path / "v.npz", vectors=np.eye(3), labels=[1, 2, 3])
    with pytest.raises(ValueError, match=r"does not say of which model; give the run or model\.onnx that made them"):
        gallery.enroll_listed(tmp_path / "v.npz")
    monkeypatch.setattr(Colours, "fingerprint", "other")
    monkeypatch.setattr(listing, "open_encoder", lambda path: Colours())
    with pytest.raises(ValueError, match="of the model other and the gallery holds those of c0ffee"):
        gallery.enroll_listed(tmp_path / "v.npz", made_by="run")
