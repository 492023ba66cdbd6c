"""A comparison: the same data for all, intervals and paired tests, and going on where it stopped."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise import compare as comparing
from likewise.api import load_recipe
from likewise.compare import compare, holm, outer_commas, parse_over, variants
from likewise.page.comparison import markdown, write_comparison
from likewise.recipe import Recipe
from likewise.spec import SpecError

QUICK = ("size=16", "epochs=1", "network=mlp(widths=(32,))", "dim=8", "max_per_class=30", "doctor=false")


def recipes(*over: str) -> dict[str, Recipe]:
    return variants({"digits": load_recipe("digits").override(*QUICK)}, parse_over(over))


def test_commas_part_values_but_not_arguments():
    over = parse_over(["loss=softmax,triplet(margin=0.2, pick='hard'),sum(losses=['supcon()', 'a,b'])", "dim=2,64"])
    assert over["loss"] == ["softmax", "triplet(margin=0.2, pick='hard')", "sum(losses=['supcon()', 'a,b'])"]
    assert over["dim"] == ["2", "64"]


@given(st.lists(st.sampled_from(["a", "f(x=1, y=[2, 3])", "g(s='p,q')", "h(t=(1, 2))"]), min_size=1))
def test_what_was_joined_by_commas_is_parted_again(values):
    assert outer_commas(",".join(values)) == values


@pytest.mark.parametrize("text", ["loss", "loss=", "loss=a,,b", "=a"])
def test_over_that_is_not_field_and_values(text):
    with pytest.raises(SpecError, match=r"--over takes field=value|no field ''"):
        variants({"digits": Recipe()}, parse_over([text]))


def test_a_wrong_value_fails_before_anything_is_trained(tmp_path):
    with pytest.raises(SpecError, match="did you mean softmax"):
        recipes("loss=supcon,sofmax")


def test_labels_say_what_differs():
    assert list(recipes("loss=supcon,softmax", "dim=2,8")) == ["supcon, 2", "supcon, 8", "softmax, 2", "softmax, 8"]


def test_other_data_cannot_be_compared(tmp_path):
    pair = {"a": Recipe(data="digits"), "b": Recipe(data="mnist")}
    with pytest.raises(ValueError, match="on the same pictures, but data differs: digits, mnist"):
        compare(pair, folder=tmp_path)


def test_holm_by_hand():
    # Holm, 1979: 0.01 x 3, 0.02 x 2, 0.03 x 1, never falling.
    assert holm({"a": 0.01, "b": 0.03, "c": 0.02}) == pytest.approx({"a": 0.03, "c": 0.04, "b": 0.04})


@pytest.mark.slow
def test_methods_seeds_tables_and_going_on(tmp_path, monkeypatch):
    rows = recipes("loss=supcon,softmax,siamese_bce")
    trained = []
    real = comparing.train

    def counted(*args, **kwargs):
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(kwargs["name"])
        return real(*args, **kwargs)

    monkeypatch.setattr(comparing, "train", counted)
    with pytest.raises(KeyboardInterrupt):
        compare(rows, folder=tmp_path, seeds=2)
    monkeypatch.setattr(comparing, "train", real)
    found = compare(rows, folder=tmp_path, seeds=2)

    assert [row.label for row in found.rows] == ["supcon", "softmax", "siamese_bce"]
    assert len({run.path for row in found.rows for run in row.runs}) == 6
    for row in found.rows:
        score = row.scores["knn@1"]
        held = [run.scores()["scores"]["knn@1"]["value"] for run in row.runs]
        assert score["value"] == pytest.approx(sum(held) / 2)
        assert score["low"] <= score["value"] <= score["high"]
        assert 0 <= row.fixed <= 1
    assert set(found.p["knn@1"]) < {row.label for row in found.rows}
    said = json.loads((tmp_path / "compare.json").read_text())
    assert len(said["rows"]) == 3
    table = markdown(found).splitlines()
    assert table[0].startswith("| method | knn@1 |")
    assert len(table[0].split("|")) == len(table[2].split("|"))
    page = write_comparison(found)[-1].read_text(encoding="utf-8")
    assert "siamese_bce" in page
    assert "http" not in page.replace("http://www.w3.org", "")


@pytest.mark.slow
def test_bold_is_only_what_the_paired_test_can_say(tmp_path):
    same = load_recipe("digits").override(*QUICK)
    alike = {"a": same, "b": same}
    found = compare(alike, folder=tmp_path)
    assert found.best == {}
    assert "**" not in markdown(found)
