"""What a notebook shows of a run, scores, a comparison and images: short, and harmless whatever the names hold."""

import json
from html.parser import HTMLParser

import pytest
import torch

from likewise import Recipe, Score
from likewise.experiment.compare import Comparison, Row
from likewise.experiment.run import Run
from likewise.metrics.intervals import Scores
from small_images import six

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)>' + "x" * 5000
ALLOWED = {"div", "p", "b", "table", "tr", "th", "td", "figure", "figcaption", "img"}
ATTRIBUTES = {("figure", "style"), ("img", "style"), ("img", "alt"), ("img", "src")}


class Reader(HTMLParser):
    """The elements and texts of a view."""

    def __init__(self, view: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.feed(view)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.texts.append(data)


def harmless(view: str, most: int = 8_000) -> Reader:
    """Only plain elements, images within the page itself, and not long."""
    read = Reader(view)
    assert set(read.tags) <= ALLOWED
    assert {(tag, name) for tag, name, _ in read.attributes} <= ATTRIBUTES
    assert all(value.startswith("data:image/") for _, name, value in read.attributes if name == "src")
    assert len(view) < most
    return read


def score(value: float = 0.5) -> Score:
    return Score(value, value - 0.1, value + 0.1, 1234)


def run_with(tmp_path, **metrics) -> Run:
    (tmp_path / "recipe.toml").write_text(Recipe().to_toml(), encoding="utf-8")
    if metrics:
        (tmp_path / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    return Run.open(tmp_path)


def test_scores_are_a_dict_and_a_table():
    scores = Scores({"knn@1": score(0.75)})
    assert scores == {"knn@1": score(0.75)}
    assert harmless(scores._repr_html_()).texts[-5:] == ["knn@1", "0.7500", "0.6500", "0.8500", "1,234"]


def test_many_scores_are_counted():
    view = harmless(Scores({f"score {i}": score() for i in range(1000)})._repr_html_())
    assert view.tags.count("tr") == 31
    assert view.texts[-1] == "and 970 more"


@pytest.mark.parametrize("hostile", [HOSTILE, "</table></div><iframe src=javascript:alert(1)>", "&lt;b&gt;"])
def test_hostile_names_are_text(hostile, tmp_path):
    full = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10}
    words = {"grade": "bad", "name": hostile, "reason": hostile, "commands": [hostile], "further": []}
    metrics = {"split": "test", "open": False, "verdict": words, "scores": {hostile: full}}
    row = Row(hostile, Recipe(), (), {"knn@1": full}, None, 1.0, 1.0)
    compared = Comparison(tmp_path, (row,), {"knn@1": hostile}, {}, failed={hostile: hostile})
    for view in (
        Scores({hostile: score()})._repr_html_(),
        run_with(tmp_path, **metrics)._repr_html_(),
        compared._repr_html_(),
        six(classes=(hostile, "b", "c"))._repr_html_(),
        six(classes=(hostile, "b", "c"), pixels=torch.zeros(6, 4))._repr_html_(),
    ):
        read = harmless(view, 20_000)
        assert any(text.startswith(hostile[:15]) for text in read.texts), view


def test_a_run_shows_verdict_and_scores(tmp_path):
    words = {"grade": "good", "name": "x", "reason": "knn@1 0.75", "commands": ["a", "b"], "further": []}
    full = {"value": 0.75, "low": 0.7, "high": 0.8, "n": 10}
    view = harmless(run_with(tmp_path, split="test", open=False, verdict=words, scores={"knn@1": full})._repr_html_())
    assert view.texts[0] == f"run {tmp_path.name}"
    assert view.texts[-1] == "good: knn@1 0.75"
    assert "0.7500" in view.texts


def test_a_run_without_scores_says_what_to_do(tmp_path):
    assert "likewise evaluate" in harmless(run_with(tmp_path)._repr_html_()).texts[-1]


def test_a_comparison_marks_what_is_best_beyond_doubt(tmp_path):
    rows = tuple(
        Row(name, Recipe(), (), {"knn@1": {"value": v, "low": v, "high": v, "n": 9}}, None, 1.0, 1.0)
        for name, v in (("softmax", 0.5), ("triplet", 0.75))
    )
    view = harmless(Comparison(tmp_path, rows, {"knn@1": "triplet"}, {})._repr_html_())
    assert view.texts[1:7] == [
        "method",
        "knn@1",
        "softmax",
        "0.500 (0.500 – 0.500)",
        "triplet",
        "0.750* (0.750 – 0.750)",
    ]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_images_have_small_versions(channels, kind):
    pixels = torch.randint(0, 256, (6, channels, 200, 100), generator=torch.Generator().manual_seed(0)).to(kind)
    view = harmless(six(pixels=pixels)._repr_html_(), 40_000)
    assert view.texts[0] == f"6 of shape {channels}x200x100, 3 classes"
    assert [text for text in view.texts if text in "abc"] == ["a", "b", "c", "a", "b", "c"]
    assert view.texts[-1] == "3 train, 1 val, 2 test"


def test_rows_of_numbers_are_counted_by_class():
    view = harmless(six(pixels=torch.zeros(6, 4))._repr_html_())
    assert view.texts[3:9] == ["a", "2", "b", "2", "c", "2"]
    assert "img" not in view.tags


def test_no_images_and_broken_values_are_shown():
    assert "0 of shape" in six().take([])._repr_html_()
    harmless(six(pixels=torch.full((6, 1, 4, 4), torch.nan))._repr_html_())
