"""The comparison page and its table: what they say of rows made by hand, without training."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from likewise.cli.comparison import comparison_text
from likewise.evaluate import draw_pairs
from likewise.experiment import compare
from likewise.experiment.compare import Comparison, Row
from likewise.experiment.compared_baselines import baselines_of
from likewise.experiment.recipe import Recipe
from likewise.experiment.run import Run
from likewise.viz.pages import comparison as pages
from likewise.viz.pages import methods, ranking
from report_page import Page
from report_run import clusters, digits_metrics, score, write_run

# label: pair_accuracy, accuracy at 0.5, knn@1
METHODS = {"triplet": (0.91, 0.9, 0.95), "softmax": (0.95, 0.55, 0.97), "supcon": (0.93, 0.8, 0.96)}


def made(folder: Path, **of_rows) -> Comparison:
    rows = []
    for label, (right, fixed, knn) in METHODS.items():
        recipe = Recipe(loss=label, epochs=10, seed=3)
        scores = {"knn@1": score(knn), "pair_accuracy": score(right), "eer": score(1 - right)}
        path = write_run(folder / "runs" / label, clusters(["a", "b"]), metrics=digits_metrics(scores=scores))
        (path / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
        rows.append(replace(Row(label, recipe, (Run(path),), scores, fixed, 41.4, 1234.0), **of_rows))
    p = {"knn@1": {"triplet": 0.0004, "supcon": 0.3}, "pair_accuracy": {"triplet": 0.01, "supcon": 0.02}}
    return Comparison(folder, tuple(rows), {"pair_accuracy": "softmax"}, p)


@pytest.fixture
def compared(tmp_path) -> Comparison:
    return made(tmp_path / "methods")


def text_of(html: list) -> str:
    return Page("".join(html)).said()


def test_the_method_that_a_fixed_threshold_harms_most_falls(compared):
    said = text_of(pages.fixed_threshold(compared))
    assert "Here softmax falls from 95.0 % to 55.0 %; chance level is 50 %." in said
    assert "With it triplet would seem best; with validated thresholds softmax is." in said
    assert said.endswith("triplet91.0 %90.0 %softmax95.0 %55.0 %supcon93.0 %80.0 %")


def test_without_another_winner_nothing_is_said_of_one(compared):
    best_either_way = replace(
        compared, rows=tuple(replace(row, fixed=row.scores["knn@1"]["value"] / 2) for row in compared.rows)
    )
    assert "would seem best" not in text_of(pages.fixed_threshold(best_either_way))
    assert pages.fixed_threshold(replace(compared, rows=tuple(replace(row, fixed=None) for row in compared.rows))) == []


def test_the_verdict_is_on_the_first_column_and_names_who_is_near(compared):
    assert "softmax is best with 97.0 %, not significantly better than supcon (p ≥ 0.05)." in text_of(
        [pages.verdict(compared)]
    )
    sure = replace(compared, p={"pair_accuracy": {"triplet": 0.01, "supcon": 0.0499}})
    assert "softmax is best with 95.0 %, significantly better than every other method (p < 0.05)." in text_of(
        [pages.verdict(sure)]
    )
    at_the_level = replace(compared, p={"pair_accuracy": {"triplet": 0.01, "supcon": 0.05}})
    assert "not significantly better than supcon" in text_of([pages.verdict(at_the_level)])
    alone = replace(compared, rows=compared.rows[:1], p={})
    assert "Only one method has scores" in text_of([pages.verdict(alone)])


def test_the_table_as_markdown(compared):
    lines = pages.markdown(replace(compared, failed={"a|b": "NaN"})).splitlines()
    assert lines[0] == "| method | knn@1 | pair_accuracy | accuracy at 0.5 | eer ↓ | seconds | images/s |"
    assert lines[2] == (
        "| triplet | 0.950 (0.938 – 0.962) | 0.910 (0.898 – 0.922) | 0.900 | 0.090 (0.078 – 0.102) | 41 | 1,234 |"
    )
    assert "| **0.950** (0.938 – 0.962) | 0.550 |" in lines[3]
    assert lines[5] == r"| a\|b | diverged |  |  |  |  |  |"
    assert "One run each" in lines[-1]


def test_p_values_in_words(compared):
    said = text_of(pages.p_values(compared))
    assert said.endswith("triplet< 0.0010.010softmaxbestbestsupcon0.3000.020")
    assert pages.p_text(replace(compared, p={"eer": {"softmax": 0.001}}), "softmax", "eer") == "0.001"


def test_the_facts_of_a_comparison(compared):
    said = text_of([methods.facts(compared)])
    for fact in (
        "Images 1,258 train, 180 validation, 359 test; 10 classes",
        "Evaluated on test images of classes seen in training",
        "Methods 3",
        "Budget of each run 10 epochs",
        "Seeds 3",
    ):
        assert re.search(fact.replace(" ", r"\s*"), said), fact


@pytest.mark.parametrize(
    ("recipe", "seconds", "budget"),
    [
        ({"epochs": 10}, 1.0, "10 epochs"),
        ({"epochs": 1}, 1.0, "1 epoch"),
        ({"epochs": 10, "max_seconds": 60.0}, 57.0, "60 s of training"),
        ({"epochs": 10, "max_seconds": 60.0}, 56.0, "10 epochs, 60 s at most"),
        ({"epochs": 4, "pretrain_epochs": 2}, 1.0, "4 epochs, 2 before as a classifier"),
    ],
)
def test_the_budget_in_words(compared, recipe, seconds, budget):
    rows = tuple(replace(row, recipe=Recipe(**recipe), seconds=seconds) for row in compared.rows)
    assert methods.budget(replace(compared, rows=rows)) == budget


def test_a_budget_that_differs(compared):
    rows = (replace(compared.rows[0], recipe=Recipe(epochs=3)), *compared.rows[1:])
    assert methods.budget(replace(compared, rows=rows)) == "differs, see below"


def test_what_differs_between_the_recipes(compared):
    said = text_of(methods.recipes(compared))
    assert re.search(r"Differences:\s*Method\s*loss\s*triplet\s*triplet\s*softmax\s*softmax\s*supcon\s*supcon", said)
    assert 'loss = "' not in said  # among the shared fields
    assert "epochs = 10" in said
    assert "likewise report methods/runs/softmax" in said


def test_the_scores_of_pairs_are_those_of_the_table():
    part = clusters(["a", "b", "c"], each=12).part("test")
    pairs = draw_pairs(part.labels)
    held = {"threshold": {"value": 0.4}, "open": False}
    found = compare.of_pairs(part, pairs, Recipe(sim="cosine"), held)
    assert set(found) == {"pair_accuracy", "eer"}
    assert found["eer"].n == len(pairs.same)
    sim = torch.nn.functional.cosine_similarity(part.vectors[pairs.first], part.vectors[pairs.second])
    right = ((sim >= 0.4) == pairs.same).double()
    by_kind = [float(right[pairs.same].mean()), float(right[~pairs.same].mean())]
    assert found["pair_accuracy"].value == pytest.approx(sum(by_kind) / 2, abs=0.05)
    assert set(compare.of_pairs(part, pairs, Recipe(sim="cosine"), {"open": False})) == {"eer"}


def test_the_table_of_the_terminal_fits(compared):
    shown = comparison_text(replace(compared, failed={"a": "NaN"}))
    assert max(map(len, shown.splitlines())) <= 80
    assert "0.950*" in shown
    assert "0.938–0.962" in shown
    assert "a: diverged" in shown
    assert "softmax: 41 s, 1,234 images/s; good" in shown
    many = {name: score(0.5) for name in compare.METRICS}
    wide = replace(compared, rows=tuple(replace(row, scores=many, label="x" * 60) for row in compared.rows))
    lines = comparison_text(wide).splitlines()
    assert max(len(line) for line in lines if not line.startswith("x" * 20)) <= 80
    assert sum("0.500" in line for line in lines) == 6, "two blocks of three methods"


def without(what: str, knn: float) -> dict:
    apart = {"difference": 0.1, "low": 0.05, "high": 0.15, "p": 0.001, "n": 40}
    return {
        "main": "knn@1",
        "queries": 40,
        "queries_of": 40,
        "references": 90,
        "references_of": 180,
        "trained": {"knn@1": score(0.9)},
        "baselines": {
            "pixels": {"what": "raw pixels, 8 x 8", "scores": {"knn@1": score(0.8)}, "difference": {"knn@1": apart}},
            "untrained": {"what": what, "scores": {"knn@1": score(knn)}, "difference": {"knn@1": apart}},
        },
        "left_out": {},
    }


def test_baselines_stand_beside_the_methods_each_once(compared, tmp_path):
    runs = {}
    for label, knn in {"triplet": 0.5, "softmax": 0.5, "supcon": 0.6}.items():
        metrics = digits_metrics() | {"without_training": without("network at step 0", knn)}
        runs[label] = Run(write_run(tmp_path / "runs" / label, clusters(["a", "b"]), metrics=metrics))
    found = baselines_of(runs | {"old": compared.rows[0].runs[0]})
    labels = ["raw pixels, 8 x 8", "network at step 0, triplet", "network at step 0, supcon"]
    assert [one.label for one in found] == labels
    assert [one.scores["knn@1"]["value"] for one in found] == [0.8, 0.5, 0.6]
    beside = replace(compared, without_training=found)
    shown = comparison_text(beside)
    assert max(map(len, shown.splitlines())) <= 80
    assert re.search(r"^raw pixels, 8 x 8 +0\.800", shown, re.M)
    assert "0.800" in pages.markdown(beside)
    assert "raw pixels, 8 x 8: without training, on all 40 images, with 90 of 180" in " ".join(shown.split())
    assert "| raw pixels, 8 x 8 (without training) | 0.800" in pages.markdown(beside)
    assert "raw pixels, 8 x 8without training" in Page(pages.scores_table(beside)).said()
    assert [one["label"] for one in beside.to_dict()["without_training"]] == labels


def test_dots_are_sorted_and_link_to_the_runs(compared):
    page = Page("".join(ranking.dots(compared)))
    assert [value for _, key, value in page.attributes if key == "href"] == []
    (compared.rows[0].runs[0].path / "report.html").write_text("", encoding="utf-8")
    page = Page("".join(ranking.dots(compared)))
    assert {value for _, key, value in page.attributes if key == "href"} == {"runs/triplet/report.html"}
    first = page.said().partition("Nearest neighbour")[2]
    assert first.index("softmax") < first.index("supcon") < first.index("triplet")
    errors = page.said().partition("lower is better")[2]
    assert errors.index("softmax") < errors.index("supcon") < errors.index("triplet")


def test_pairwise_wins(compared):
    wins = {
        "knn@1": {"triplet": [], "softmax": ["triplet"], "supcon": ["triplet"]},
        "map@r": {name: [] for name in METHODS},
    }
    said = text_of(ranking.wins(replace(compared, wins=wins)))
    assert "softmax1–✓supcon1–✓triplet0–" in said
    assert "No method is better than another by such a test in map@r." in said
    assert ranking.wins(compared) == []


def test_flipped_queries_of_the_best_two(compared):
    said = text_of(pages.flipped(compared, None))
    assert said.startswith("The first runs of the two best methods by 1-NN accuracy, from supcon to softmax.")
    assert "0 queries became right and 0 became wrong, of 12; p = 1." in said
    assert said.endswith("likewise explore methods/runs/supcon methods/runs/softmax")
    alone = replace(compared, rows=compared.rows[:1])
    assert pages.flipped(alone, None) == []


def test_wins_are_tested_between_all(compared, monkeypatch):
    from types import SimpleNamespace

    p = {(0, 1): 0.001, (0, 2): 0.04, (1, 2): 0.03}
    found = [{"knn@1": n} for n in range(3)]
    monkeypatch.setattr(compare, "apart", lambda name, a, b: SimpleNamespace(p=p[a[name], b[name]]))
    assert compare.pairwise(compared.rows, found) == {"knn@1": {"triplet": [], "softmax": ["triplet"], "supcon": []}}


def test_a_method_that_is_bad_is_said_to_be(compared):
    metrics = digits_metrics(scores={"knn@1": score(0.97), "pair_accuracy": score(0.5)})
    compared.rows[1].runs[0].write("metrics.json", json.dumps(metrics))
    said = text_of([pages.verdict(compared)])
    assert "✗ badsoftmax: pair_accuracy 0.5000" in said
