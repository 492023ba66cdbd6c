"""Recipes: strict, flat, frozen; TOML and JSON there and back."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise import spec
from likewise.experiment import ranges
from likewise.experiment.recipe import Recipe, epochs_of
from likewise.spec import SpecError

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@given(
    data=TEXTS.filter(lambda text: not set("(:") & set(text)),  # a name that is read back must exist
    lr=st.floats(0, 1e6),
    epochs=st.integers(1, 10**6),
    strict=st.booleans(),
    normalize=st.none() | st.booleans(),
)
def test_toml_and_json_there_and_back(**fields):
    recipe = Recipe(**fields)
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    assert Recipe.from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize("name", spec.names("recipe"))
def test_every_shipped_recipe_comes_back_from_its_file(name, tmp_path):
    recipe = spec.find("recipe", name)()
    (tmp_path / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    (tmp_path / "recipe.json").write_text(recipe.to_json(), encoding="utf-8")
    assert Recipe.load(tmp_path / "recipe.toml") == Recipe.load(tmp_path / "recipe.json") == recipe


def test_a_field_is_read_in_its_type():
    recipe = Recipe().override("dim=2", "lr=1", "strict=yes", "loss=contrastive(margin=1.0)", "normalize=false")
    assert (recipe.dim, recipe.lr, recipe.strict, recipe.normalize) == (2, 1.0, True, False)
    assert Recipe().override("normalize=auto").normalize is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["dims=2"], "no field 'dims'; did you mean dim"),
        (["dim"], "'dim' is not field=value"),
        (["dim=two"], "expected a whole number, got 'two'"),
        (["dim=2.5"], "expected a whole number, got '2.5'"),
        (["lr=fast"], "expected a number, got 'fast'"),
        (["lr=nan"], "expected 0 to 1000000"),
        (["strict=maybe"], "expected true or false, got 'maybe'"),
        (["epochs=0"], "expected 1 to 1000000, got 0"),
        (["channels=2"], r"channels is 1 \(grey\)"),
        (["loss=tripplet"], "no loss named 'tripplet'; did you mean triplet"),
        (["loss=triplet(margn=1)"], "did you mean margin"),
        (["sim=cosin"], "did you mean cosine"),
        (["network=conv"], "no network named 'conv'"),
        (["schedule=cosine(warm=1)"], "did you mean warmup"),
        (["snapshot_epochs=0;1"], "a list such as 0,1,2"),
        (["snapshot_epochs=-1"], "counts from 0"),
    ],
)
def test_what_is_wrong_is_said_before_data_is_read(settings, said):
    with pytest.raises(SpecError, match=said):
        Recipe(data="no-such-data").override(*settings)


def test_types_are_not_converted_in_silence():
    for wrong in ({"dim": "2"}, {"dim": 2.0}, {"strict": 1}, {"epochs": True}, {"data": None}, {"lr": "fast"}):
        with pytest.raises(SpecError, match="expected"):
            Recipe(**wrong)


@pytest.mark.parametrize(
    ("text", "said"),
    [("dim = ", "does not read as TOML"), ("dims = 2", "did you mean dim"), ("[model]\ndim = 2", "no field 'model'")],
)
def test_a_broken_file(text, said, tmp_path):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(SpecError, match=said):
        Recipe.load(tmp_path / "r.toml")


def test_a_file_that_is_no_recipe(tmp_path):
    with pytest.raises(SpecError, match=r"ends in .toml or .json, not '.yaml'"):
        Recipe.load(tmp_path / "r.yaml")
    with pytest.raises(SpecError, match="cannot read the recipe"):
        Recipe.load(tmp_path / "absent.toml")
    with pytest.raises(SpecError, match="is an object of fields, not list"):
        Recipe.from_json(json.dumps([1]))


def test_every_field_has_a_meaning_and_the_file_shows_it():
    text = Recipe().to_toml()
    for field in dataclasses.fields(Recipe):
        assert field.metadata["meaning"]
        assert field.metadata["meaning"] in text or getattr(Recipe(), field.name) is None


def test_a_recipe_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().dim = 3  # type: ignore[misc]


def test_snapshot_epochs():
    assert epochs_of("", 7) == [0, 7]
    assert epochs_of("0, 2,50,2", 10) == [0, 2]


def test_columns_of_a_table_become_its_data():
    from likewise.recipes.load import load_recipe, with_columns

    recipe = with_columns("birds.tsv", image="path", label="kind of bird", split="")
    assert recipe.data == "table(path='birds.tsv', image='path', label='kind of bird')"
    assert load_recipe("birds.parquet").data == "birds.parquet"
    with pytest.raises(spec.SpecError, match=r"columns are of a table \(.csv, .tsv, .parquet\), and 'mnist' is none"):
        with_columns("mnist", image="path")


@pytest.mark.parametrize(
    ("words", "value"),
    [(("true", "yes", "1", "True", "YES"), True), (("false", "no", "0", "No"), False)],
)
def test_words_for_yes_and_no(words, value):
    assert [Recipe().override(f"strict={word}").strict for word in words] == [value] * len(words)
    assert [Recipe().override(f"normalize={word}").normalize for word in words] == [value] * len(words)
    assert Recipe().override("normalize=auto").normalize is None
    with pytest.raises(SpecError, match="got 'auto'"):
        Recipe().override("strict=auto")


LARGE, WHOLE = 2**31, 1_000_000
ENDS = {
    "val": (0, 0.9), "channels": (0, 3), "min_per_class": (1, LARGE), "max_per_class": (0, LARGE),
    "max_classes": (0, LARGE), "rotations": (1, 4), "dim": (0, 65_536), "memory": (0, LARGE), "tile": (0, LARGE),
    "epochs": (1, WHOLE), "pretrain_epochs": (0, WHOLE), "max_seconds": (0.0, 1e9), "lr": (0.0, 1e6),
    "proxy_lr": (0.0, 1e9), "proxy_share": (0.0, 1.0), "backbone_lr": (0.0, 1e6), "layer_decay": (0.0, 1.0),
    "frozen_epochs": (-1, WHOLE), "unfreeze_epochs": (0, WHOLE), "accumulate": (1, WHOLE), "clip": (0.0, 1e12),
    "ema": (0.0, 0.9999999), "wise": (-1.0, 1.0), "whiten": (0.0, 1e6), "patience": (0, WHOLE),
    "eval_every_epochs": (0, WHOLE), "seed": (0, 2**32 - 1), "split_seed": (0, 2**32 - 1),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_a_number_may_be_as_small_and_as_large_as_this_and_no_more(name):
    low, high = ENDS[name]
    assert [getattr(Recipe(**{name: value}), name) for value in (low, high)] == [low, high]
    step = 1 if isinstance(low, int) else 1e-9 * max(1.0, abs(high))
    for value in (low - step, high + step):
        with pytest.raises(SpecError, match=f"^{name} is .*: expected "):
            Recipe(**{name: value})


def test_every_bound_is_among_these():
    assert set(ENDS) == set(ranges.RANGES)
