"""A comparison: the same data for all, intervals and paired tests, and going on where it stopped."""

import json
import math
import os
import re
import subprocess
import sys
import time
from itertools import chain
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.atomic import write_text
from likewise.evaluate import DivergedError, Embeddings
from likewise.evaluate.measure import Measured
from likewise.experiment import train as launch
from likewise.experiment.compare import compare, outer_commas, parse_over, plan, variants
from likewise.experiment.compare import row as row_of
from likewise.experiment.recipe import Recipe
from likewise.experiment.thresholds import kept_pairs
from likewise.metrics.sampled_pairs import even
from likewise.recipes.load import load_recipe
from likewise.spec import SpecError
from likewise.viz.pages.comparison import markdown, write_comparison
from report_page import Page

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
    assert list(recipes("loss=supcon,softmax", "dim=2,8")) == [
        "supcon, dim=2", "supcon, dim=8", "softmax, dim=2", "softmax, dim=8",
    ]  # fmt: skip
    assert list(recipes("normalize=true,false")) == ["normalize=true", "normalize=false"]
    assert list(recipes()) == ["digits"]


def test_other_data_cannot_be_compared(tmp_path):
    pair = {"a": Recipe(data="digits"), "b": Recipe(data="mnist")}
    with pytest.raises(
        ValueError, match=r"on the same images, but data differs: digits \(a\), mnist \(b\); give data="
    ):
        compare(pair, folder=tmp_path)


def test_every_method_has_the_same_budget_unless_that_is_what_differs(tmp_path):
    pair = {"a": Recipe(epochs=3), "b": Recipe(epochs=9), "c": Recipe(epochs=9)}
    sentence = r"the same budget, but epochs differs: 3 \(a\), 9 \(b\); give epochs=... for all"
    with pytest.raises(ValueError, match=sentence):
        compare(pair, folder=tmp_path)
    timed = {"a": Recipe(), "b": Recipe(max_seconds=5.0)}
    with pytest.raises(ValueError, match=r"but max_seconds differs: 0.0 \(a\), 5.0 \(b\)"):
        compare(timed, folder=tmp_path)


def test_a_run_of_another_recipe_is_not_taken_for_this_one(tmp_path):
    """Asked again with more epochs, a comparison does not show what fewer reached."""
    rows = recipes("loss=supcon,softmax")
    for path, recipe in chain.from_iterable(plan(tmp_path, rows, 1).values()):
        write_text(path / "recipe.toml", recipe.to_toml())
    assert plan(tmp_path, rows, 1)
    longer = {label: recipe.replace(epochs=7) for label, recipe in rows.items()}
    sentence = (
        "supcon-seed0 was trained with epochs=1, and epochs=7 is asked for now; give the comparison another --name"
    )
    with pytest.raises(ValueError, match=sentence):
        compare(longer, folder=tmp_path)


def test_every_method_has_a_folder_of_its_own(tmp_path):
    rows = {"a(b=1)": Recipe(), "a[b=1]": Recipe(), "x" * 90: Recipe(), "x" * 91: Recipe(), "c": Recipe()}
    planned = plan(tmp_path, rows, 2)
    paths = [path for tasks in planned.values() for path, _ in tasks]
    assert len(set(paths)) == 10
    assert planned["c"][1][0].name == "c-seed1"
    assert plan(tmp_path, dict(reversed(rows.items())), 2) == planned
    assert [recipe.seed for _, recipe in planned["c"]] == [0, 1]


@pytest.mark.parametrize("left", [[], ["snapshots"], ["snapshots", ".recipe.toml.77.part"]])
def test_a_run_killed_before_it_began_is_begun_again(tmp_path, monkeypatch, left):
    path = tmp_path / "runs" / "c-seed0"
    for name in left:
        path.mkdir(parents=True, exist_ok=True)
        (path / name).touch() if "." in name else (path / name).mkdir()
    begun = []
    monkeypatch.setattr(launch, "prepared", lambda recipe, watch: None)
    monkeypatch.setattr(launch, "first_time", lambda run, *rest: [begun.append(sorted(os.listdir(run.path)))])
    launch.obtain(path, Recipe())
    assert begun == [[".lock", "snapshots"]]


def test_a_folder_with_something_else_is_not_begun(tmp_path, monkeypatch):
    path = tmp_path / "runs" / "c-seed0"
    path.mkdir(parents=True)
    (path / "notes.txt").touch()
    monkeypatch.setattr(launch, "prepared", lambda recipe, watch: None)
    with pytest.raises(ValueError, match=r"holds something else than a run; give another --name"):
        launch.obtain(path, Recipe())


@pytest.mark.slow
def test_a_run_killed_before_its_first_checkpoint_goes_on(tmp_path):
    (recipe,) = recipes().values()
    (((path, wanted),),) = plan(tmp_path, {"a": recipe}, 1).values()
    write_text(path / "recipe.toml", wanted.to_toml())
    said = []
    assert launch.obtain(path, wanted, announce=said.append).metrics()["scores"]
    assert said == ["going on"]


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """Three methods and two seeds on real digits, stopped once on the way."""
    folder, trained, real = tmp_path_factory.mktemp("five"), [], launch.first_time

    def counted(run, *args):
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(run.name)
        return real(run, *args)

    rows = recipes("loss=supcon,softmax,siamese_bce")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(launch, "first_time", counted)
        with pytest.raises(KeyboardInterrupt):
            compare(rows, folder=folder, seeds=2)
    return compare(rows, folder=folder, seeds=2)


@pytest.mark.slow
def test_methods_seeds_and_going_on(five):
    assert [row.label for row in five.rows] == ["supcon", "softmax", "siamese_bce"]
    assert len({run.path for row in five.rows for run in row.runs}) == 6
    for method in five.rows:
        for name in ("knn@1", "pair_accuracy", "eer"):
            held = [run.metrics()["scores"][name]["value"] for run in method.runs]
            score = method.scores[name]
            assert score["value"] == pytest.approx(sum(held) / 2)
            assert score["low"] <= score["value"] <= score["high"]
    said = json.loads((five.folder / "compare.json").read_text())
    assert [method["label"] for method in said["rows"]] == ["supcon", "softmax", "siamese_bce"]
    assert said["rows"][0]["runs"] == ["runs/supcon-seed0", "runs/supcon-seed1"]


@pytest.mark.slow
def test_the_fixed_threshold_is_that_of_a_loop(five):
    row = five.rows[0]
    accuracy = []
    for run in row.runs:
        test = Embeddings.load(run.embeddings).part("test")
        pairs = kept_pairs(run, test, "test")
        judged = [
            (math.dist(test.vectors[a].tolist(), test.vectors[b].tolist()) < 0.5) == same
            for a, b, same in zip(*(side[even(pairs.same)].tolist() for side in pairs), strict=True)
        ]
        accuracy.append(sum(judged) / len(judged))
    assert row.fixed == pytest.approx(sum(accuracy) / 2, abs=1e-3)


@pytest.mark.slow
def test_every_column_of_the_table_is_tested_against_its_best(five):
    """The lowest error is the best one."""
    for name in ("knn@1", "map@r", "silhouette", "pair_accuracy", "eer"):
        values = {row.label: row.scores[name]["value"] for row in five.rows}
        top = (min if name == "eer" else max)(values, key=lambda label: values[label])
        assert set(five.p[name]) == set(values) - {top}
        assert (five.best.get(name) == top) == all(p < 0.05 for p in five.p[name].values())


@pytest.mark.slow
def test_the_table_as_markdown(five):
    lines = markdown(five).splitlines()
    assert lines[0] == (
        "| method | knn@1 | map@r | silhouette | pair_accuracy | accuracy at 0.5 | eer ↓ | seconds | images/s |"
    )
    assert {line.count("|") for line in lines[:5]} == {10}
    assert f" {five.rows[1].fixed:.3f} " in lines[3]
    assert "Values are means over 2 seeds" in lines[-1]


@pytest.mark.slow
def test_the_page_says_what_was_compared(five):
    page = write_comparison(five)[-1].read_text(encoding="utf-8")
    said = Page(page).said()
    assert Page(page).headings == [
        "Scores", "Pairwise wins", "All scores", "Flipped queries", "Why no fixed threshold", "Loss curves",
        "Maps of the test images",
        "Recipes and runs",
    ]  # fmt: skip
    assert "http" not in page.replace("http://www.w3.org", "")
    assert re.search(r"Budget of each run\s*1 epoch\s*Seeds\s*0, 1", said)
    assert "is best with" in said
    assert "measures the scale and not the method" in said
    assert "compare shapes, not heights" in said
    assert re.search(r"Differences:\s*Method", said)
    assert f"likewise report {five.folder.name}/runs/siamese-bce-seed0" in said
    drawn = {path.name for path in (five.folder / "plots").iterdir()}
    assert drawn == {"knn1.png", "losses.png", "maps.png"}


@pytest.mark.slow
def test_bold_is_only_what_the_paired_test_can_say(tmp_path):
    same = load_recipe("digits").override(*QUICK)
    alike = {"a": same, "b": same}
    found = compare(alike, folder=tmp_path)
    assert found.best == {}
    assert "**" not in markdown(found)
    assert "not significantly better than" in write_comparison(found)[-1].read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_method_that_diverges_is_a_row_without_scores(tmp_path):
    wild = ("optimizer=sgd", "loss=contrastive", "sim=sqeuclidean", "normalize=false", "schedule=constant", "epochs=3")
    rows = {label: recipe.override(*wild) for label, recipe in recipes("lr=1e-3,1e6").items()}
    found = compare(rows, folder=tmp_path)
    assert [row.label for row in found.rows] == ["lr=1e-3"]
    assert "hold NaN or infinity" in found.failed["lr=1e6"]
    assert "| lr=1e6 | diverged |" in markdown(found)
    page = write_comparison(found)[-1].read_text(encoding="utf-8")
    assert "diverged and has no scores" in page
    with pytest.raises(DivergedError, match="every method diverged; lr=1e6: "):
        compare({"lr=1e6": rows["lr=1e6"]}, folder=tmp_path / "alone")


@pytest.mark.slow
def test_killed_and_started_again_it_ends_in_the_same_table(tmp_path):
    """The process is killed while its second method trains."""
    words = ["compare", "digits", "--over", "loss=supcon,softmax", *QUICK, "epochs=8", "--out"]
    command = [sys.executable, "-m", "likewise", *words]
    killed = subprocess.Popen([*command, str(tmp_path / "a")], stderr=subprocess.PIPE)
    log = tmp_path / "a" / "digits" / "runs" / "softmax-seed0" / "metrics.jsonl"
    while not (log.exists() and log.stat().st_size):
        assert killed.poll() is None, "it ended before it was killed"
        time.sleep(0.02)
    killed.kill()
    killed.communicate()
    assert not (log.parent / "metrics.json").exists()
    tables = []
    for out in ("a", "b"):
        done = subprocess.run([*command, str(tmp_path / out), "--json"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        tables.append(json.loads(done.stdout))
        assert ("2 of 2: softmax, seed 0: going on" in done.stderr) == (out == "a")
        assert ("1 of 2: supcon" in done.stderr) == (out == "b")
    for again, whole in zip(tables[0]["rows"], tables[1]["rows"], strict=True):
        assert again["scores"] == whole["scores"]
    assert tables[0]["p"] == tables[1]["p"]


def test_a_row_of_several_seeds_by_hand():
    """The mean, the widest interval, and of scores only those that the first run has, over the runs that have them."""

    def run(seconds: float, **scores: tuple[float, float, float, int]) -> SimpleNamespace:
        named = {name: dict(zip(("value", "low", "high", "n"), score, strict=True)) for name, score in scores.items()}
        return SimpleNamespace(metrics=lambda: {"scores": named, "seconds": seconds, "images_per_s": 10 * seconds})

    runs = (run(1, a=(0.5, 0.4, 0.6, 9), b=(0.1, 0, 0.2, 9)), run(3, a=(0.7, 0.5, 0.9, 8), c=(1, 1, 1, 1)))
    found = row_of("x", Recipe(), runs, Measured({}, (), None), 0.25)
    assert found.scores == {
        "a": {"value": pytest.approx(0.6), "low": 0.4, "high": 0.9, "n": 9},
        "b": {"value": 0.1, "low": 0, "high": 0.2, "n": 9},
    }
    assert (found.label, found.runs, found.fixed, found.seconds, found.images_per_s) == (
        "x",
        runs,
        0.25,
        2,
        20,
    )
