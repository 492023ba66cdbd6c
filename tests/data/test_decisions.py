"""Decisions on single images: what they change, for folders, tables and arrays, and what is said of wrong ones."""

import csv
import io
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from likewise import api
from likewise.cli import main
from likewise.cli.screen import headline
from likewise.data import load
from likewise.data.decisions import ACTIONS, counted, decided, read_decisions
from likewise.data.images import Images, Skipped
from likewise.experiment.recipe import Recipe
from likewise.safety.spreadsheets import csv_text

HEAD = ("file", "label", "decision", "new label")


def images(**given) -> Images:
    """Six images of classes a, b and c."""
    base = {
        "pixels": torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 1, 2, 2).clone(),
        "labels": torch.tensor([0, 0, 1, 1, 2, 2]), "classes": ("a", "b", "c"),
        "ids": tuple(f"{n}.png" for n in range(6)), "split": torch.zeros(6, dtype=torch.uint8), "name": "six",
    }  # fmt: skip
    return Images(**base | given)


def file_of(folder, *rows, head=HEAD):
    path = folder / "decisions.csv"
    path.write_text(csv_text([head, *rows]), encoding="utf-8", newline="")
    return path


def after(folder, *rows, of=None) -> Images:
    path = file_of(folder, *rows)
    return decided(of or images(), read_decisions(path), path)


def test_removed_images_are_left_out_and_relabelled_ones_renamed(tmp_path):
    found = after(
        tmp_path, ("0.png", "a", "keep", ""), ("1.png", "a", "relabel", "c"), ("2.png", "b", "remove", ""),
        ("3.png", "b", "Remove", ""), ("4.png", "c", "relabel", "d"), ("5.png", "c", "", ""),
    )  # fmt: skip
    assert found.ids == ("0.png", "1.png", "4.png", "5.png")
    assert found.classes == ("a", "c", "d")
    assert [found.classes[label] for label in found.labels.tolist()] == ["a", "c", "d", "c"]
    assert found.pixels[:, 0, 0, 0].tolist() == [0, 1, 4, 5]
    assert found.decided == (("keep", 1), ("relabel", 2), ("remove", 2))
    assert counted(dict(found.decided)) == "2 removed, 2 relabelled, 1 kept"


def test_a_list_of_the_audit_with_a_column_of_decisions_is_one(tmp_path):
    path = file_of(tmp_path, ("wrong-label", "1.png", "train", "a", "remove"), ("tiny", "", "", "b", ""),
                   head=("finding", "id", "split", "class", "Decision"))  # fmt: skip
    assert decided(images(), read_decisions(path), path).ids == ("0.png", "2.png", "3.png", "4.png", "5.png")


def test_one_that_could_not_be_read_may_be_decided_on(tmp_path):
    found = after(tmp_path, ("x.png", "a", "remove", ""), of=images(skipped=(Skipped("x.png", "broken"),)))
    assert len(found) == 6


def test_what_is_done_already_is_done(tmp_path):
    assert after(tmp_path, ("1.png", "c", "relabel", "a")).labels.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (
            [("9.png", "a", "remove", "")],
            "1 of 1 decisions name no image of six; line 2 names '9.png'",
        ),
        ([("0.png", "a", "keep", ""), ("9.png", "a", "keep", "")], "1 of 2 decisions name no image of six; line 3"),
        ([("0.png", "b", "keep", "")], "'0.png' was of class 'b' when it was decided, and is of 'a' in six"),
        ([("0.png", "a", "delete", "")], "line 2: a decision is keep, relabel or remove, got 'delete'"),
        ([("0.png", "a", "removed", "")], "got 'removed'; did you mean remove"),
        ([("0.png", "a", "relabel", " ")], "'0.png' is to be relabelled, and the column 'new label' is blank"),
        ([("0.png", "a", "relabel", "B ")], "the new label 'B ' spells the class 'b' otherwise; write 'b'"),
        ([("0.png", "a", "keep", ""), ("0.png", "a", "remove", "")], "line 3 decides otherwise on '0.png' than line 2"),
        ([(f"{n}.png", "aabbcc"[n], "remove", "") for n in range(6)], "removes every image of six"),
    ],
)
def test_a_wrong_decision_is_said_in_one_sentence(tmp_path, rows, why):
    with pytest.raises(ValueError, match=re.escape(why)) as caught:
        after(tmp_path, *rows)
    assert "\n" not in str(caught.value)
    assert "decisions.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"a,b\n1,2\n", "has no column 'file' and is no file of decisions"),
        (b"file,decision\n", "has no column 'label'"),
        (b"\x00\xff\x00", "no column"),
        (None, "there is no file of decisions"),
    ],
)
def test_a_file_that_is_none(tmp_path, content, why):
    path = tmp_path / "decisions.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=why):
        read_decisions(path)
    with pytest.raises(ValueError, match="there is no file of decisions"):
        read_decisions(tmp_path)


def test_a_file_beyond_the_bound_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("likewise.data.decisions.LARGEST", 40)
    with pytest.raises(ValueError, match="a table may have 40"):
        read_decisions(file_of(tmp_path, ("0.png" * 9, "a", "keep", "")))


NAME = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r\n"), min_size=1, max_size=20)


@settings(max_examples=40, deadline=None)
@given(NAME.filter(lambda name: not name.startswith("'") and name.strip() == name), NAME.filter(str.strip))
def test_any_name_survives_the_file(tmp_path_factory, name, label):
    label = label.lstrip("'").strip() or "x"
    path = file_of(tmp_path_factory.mktemp("d"), (name, label, "remove", ""))
    assert [one[1:4] for one in read_decisions(path).values()] == [(name, label, "remove")]
    cells = next(csv.reader(io.StringIO(path.read_text(encoding="utf-8").splitlines(keepends=True)[1])), [])
    number = re.fullmatch(r"[+-]?[\d._eE+-]+|[+-]?(inf|nan|infinity)", name, re.IGNORECASE)
    assert number or not cells or not cells[0].startswith(("=", "+", "-", "@", "\t"))


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_decisions_or_one_sentence(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("d") / "decisions.csv"
    path.write_bytes(content if content[:1] in b"f" else b"file,label,decision,new label\n" + content)
    try:
        found = read_decisions(path)
    except ValueError as error:
        found, said = {}, str(error)
    else:
        said = ""
    assert "\n" not in said
    assert all(one.action in ACTIONS for one in found.values())


def test_folders_tables_and_arrays_take_the_same_decisions(tmp_path):
    for n in range(12):
        (tmp_path / "f" / "ab"[n % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), n).save(tmp_path / "f" / "ab"[n % 2] / f"{n}.png")
    listed = [("image", "label"), *((f"f/{'ab'[n % 2]}/{n}.png", "ab"[n % 2]) for n in range(12))]
    (tmp_path / "t.csv").write_text(csv_text(listed), encoding="utf-8", newline="")
    np.savez(tmp_path / "x.npz", X=np.arange(12, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2),
             y=np.array(list("ab") * 6))  # fmt: skip
    for source, name in (("f", "{}/{}.png"), ("t.csv", "f/{}/{}.png"), ("x.npz", "train/{1:05d}")):
        rows = [(name.format("a", 4), "a", "relabel", "b"), (name.format("b", 7), "b", "remove", "")]
        found = load(str(tmp_path / source), decisions=file_of(tmp_path, *rows), val=0.25, channels=1)
        value = found.batch(range(len(found)))[:, 0, 0, 0].tolist()
        assert sorted(value) == [n for n in range(12) if n != 7]
        labels = dict(zip(value, found.labels.tolist(), strict=True))
        assert labels == {n: 1 if n == 4 else n % 2 for n in range(12) if n != 7}
        assert dict(found.decided) == {"keep": 0, "relabel": 1, "remove": 1}
        with pytest.raises(ValueError, match="no file of decisions"):
            load(str(tmp_path / source), decisions=tmp_path / "none.csv")


def test_decisions_are_read_before_the_data(tmp_path, monkeypatch):
    def read(*given, **settings):
        raise AssertionError("the data was read")

    monkeypatch.setattr("likewise.data._source", lambda text: read)
    with pytest.raises(ValueError, match="no file of decisions"):
        load("digits", decisions=tmp_path / "none.csv")


RECIPE = Recipe(
    data="digits", max_per_class=12, epochs=1, network="mlp(widths=(8,))", dim=4, device="cpu",
    sampler="pk(classes=5, images=2)", doctor=False,
)  # fmt: skip


@pytest.mark.slow
def test_a_run_applies_says_and_keeps_them(tmp_path):
    path = file_of(tmp_path, ("train/00000", "0", "remove", ""), ("train/00001", "1", "relabel", "7"))
    run = api.train(RECIPE, out=tmp_path, name="r", decisions=path)
    assert run.recipe.decisions == str(path)
    assert {name: run.metrics()["data"][name] for name in ACTIONS} == {"keep": 0, "relabel": 1, "remove": 1}
    assert "decisions applied: 1 removed, 1 relabelled" in run.report.read_text(encoding="utf-8")
    assert "decisions applied: 1 removed, 1 relabelled" in headline(run)
    api.resume(run.path)
    file_of(tmp_path, ("train/00000", "0", "keep", ""))
    with pytest.raises(ValueError, match="the data's ids changed"):
        api.resume(run.path)


def test_the_command_says_what_is_wrong_with_them(tmp_path, monkeypatch, capsys):
    path = file_of(tmp_path, ("a/cat.png", "cat", "keep", ""))
    (tmp_path / "r.toml").write_text(RECIPE.to_toml(), encoding="utf-8")
    for words, why in (
        ([str(tmp_path / "r.toml"), "--decisions", str(path)], "1 of 1 decisions name no image of digits"),
        (["digits", f"decisions={path}"], "1 of 1 decisions name no image of digits"),
        (["digits", "--decisions", "none.csv"], "there is no file of decisions none.csv"),
        (["--resume", "runs/x", "--decisions", str(path)], "give no --decisions with it"),
    ):
        monkeypatch.setattr("sys.argv", ["likewise", "train", *words, "--out", str(tmp_path / "out")])
        with pytest.raises(SystemExit) as ended:
            main()
        error = capsys.readouterr().err
        assert (ended.value.code, error.count("\n"), why in error) == (2, 1, True), error
    assert not (tmp_path / "out").exists()
