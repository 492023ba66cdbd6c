"""report.html: what it says, what it escapes, what it leaves out."""

import html
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from likewise.evaluate import Embeddings
from likewise.evaluate.pair_files import save
from likewise.geometry import cosine
from likewise.metrics.classification import probe
from likewise.metrics.health import spread
from likewise.metrics.sampled_pairs import draw
from likewise.viz.pages.charts import PlaneProbe
from likewise.viz.pages.html import Html, Thumbs, join, table, tag
from likewise.viz.pages.report import write_report
from likewise.viz.pages.scores import duration
from report_page import HEADINGS, Page, read
from report_run import clusters, digits, digits_metrics, digits_run, write_run

pytestmark = pytest.mark.slow  # a training or several processes for each part of it


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The run folder of a finished report on digits."""
    folder, images = digits_run(tmp_path_factory.mktemp("runs") / "digits")
    (folder / "skipped.csv").write_text('id,why\n"a,<b>.png",0 bytes\n', encoding="utf-8")
    assert write_report(folder, images) == folder / "report.html"
    return folder


# The whole page


def test_a_complete_run_shows_every_part_in_order(report):
    assert read(report).headings == HEADINGS


def test_the_page_is_one_file_that_asks_for_nothing(report):
    text = (report / "report.html").read_text(encoding="utf-8")
    asked = [(name, value or "") for name, key, value in Page(text).attributes if key in {"src", "href", "xlink:href"}]
    assert any(name == "img" for name, _ in asked)
    assert {value for _, value in asked if not value.startswith(("data:", "#"))} == {"report.html"}  # the page itself
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", text)
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|eval\(", text)
    assert "@import" not in text
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", text)


def test_every_id_is_there_once_and_every_link_finds_one(report):
    found = read(report)
    assert len(found.ids()) == len(set(found.ids()))
    links = {v for _, key, v in found.attributes if key in {"href", "xlink:href"} and v and v.startswith("#")}
    assert len(links) > len(HEADINGS)
    assert {link[1:] for link in links} <= set(found.ids())


def test_the_page_says_the_scores_in_words(report):
    said = read(report).said()
    assert (
        "95.8 % of held-out digits have a nearest training image of their own class "
        "(95 % interval 94.6 to 97.0, 360 images)." in said
    )
    assert "Closed set: the test images are new, but their classes were seen in training." in said
    assert "is at least 0.561 (95 % interval 0.540 to 0.580). The threshold was chosen on validation pairs" in said
    assert "the loss of a collapsed embedding (all vectors equal), 0.2." in said
    assert "too few" in said
    assert "nan" not in said.lower()


def test_the_curves_of_training_say_which_scores_they_show(report):
    said = read(report).said()
    assert "Validation scores with their 95 % intervals (shaded): Nearest neighbour, MAP@R, Silhouette." in said
    assert "Active anchors: the share of images in a batch with a non-zero loss." in said


def facts_of(folder: Path) -> dict[str, str]:
    """The definition list at the top of a report."""
    text = (folder / "report.html").read_text(encoding="utf-8")
    inner = text.partition('class="facts">')[2].partition("</dl>")[0]
    return dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", inner.replace("\N{NO-BREAK SPACE}", " ")))


def test_the_facts_of_the_run(report, tmp_path):
    found = facts_of(report)
    assert html.unescape(found.pop("Loss")) == "triplet(margin=0.2, pick='semihard')"
    assert found == {
        "Data": "digits", "Images": "1,258 train, 180 validation, 359 test, 10 classes", "Network": "convnet",
        "Embedding": "8 dimensions, cosine similarity", "Training": "10 epochs, 24 s, 10,211 images/s", "Seed": "0",
    }  # fmt: skip
    counted = {"name": "mine", "train": 5, "val": 0, "test": 2, "classes": 2}
    metrics = digits_metrics(parameters=12_345, stopped="no better for 3 epochs", epochs=1, seconds=200.0, data=counted)
    folder = write_run(tmp_path / "run", None, metrics=metrics)
    write_report(folder)
    found = facts_of(folder)
    assert found["Data"] == "mine"
    assert found["Images"] == "5 train, 2 test, 2 classes"
    assert found["Network"] == "convnet, 12,345 parameters"
    assert found["Stopped early"] == "no better for 3 epochs"
    assert found["Training"] == "1 epoch, 3 min, 10,211 images/s"
    folder = write_run(tmp_path / "bare", None, metrics={})
    write_report(folder)
    assert set(facts_of(folder)) == {"Data", "Network", "Loss", "Embedding", "Training", "Seed"}
    assert facts_of(folder)["Training"] == "10 epochs"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (89.4, "89 s"),
        (90, "2 min"),
        (149, "2 min"),
        (5369, "89 min"),
        (5400, "1 h 30 min"),
        (11_100, "3 h 05 min"),
    ],
)
def test_durations_in_words(seconds, text):
    assert duration(seconds) == text


def test_images_with_nothing_to_find_are_counted(report):
    said = read(report).said()
    assert "3 images are the only ones of their class, and excluded from retrieval scores." in said
    assert "1 image is of classes without training images, and excluded from classification scores." in said


def test_the_state_of_the_embedding_in_words(report):
    said = read(report).said()
    assert re.search(r"Directions in use\s*6\.53\s*Effective rank, of 8 dimensions, after centring\.", said)
    assert re.search(r"Length of the vectors\s*1\s*From 1 to 1\.", said)
    assert re.search(r"Orphans\s*7\.1 %\s*Images that are not among the ten nearest", said)
    assert "Davies" not in said  # was not measured


def test_the_spread_of_each_class_is_that_of_the_vectors_worst_first(report):
    test = Embeddings.load(report / "embeddings.parquet").part("test")
    found = spread(torch.nn.functional.normalize(test.vectors, dim=1), test.labels)
    worst = int((found.within / found.between).argmax())
    cells = (worst, f"{found.within[worst]:.3f}", int(found.nearest[worst]), f"{found.between[worst]:.3f}")
    assert re.search(r"Width over distance\s*" + r"\s*".join(map(str, cells)), read(report).said())


def test_an_embedding_in_the_plane_shows_its_decision_regions(tmp_path):
    folder, images = digits_run(tmp_path / "flat", dim=2, snapshots=())
    write_report(folder, images)
    assert "a point on a region of another colour is misclassified" in read(folder).said()
    assert (folder / "plots" / "regions.png").exists()
    open_run = write_run(tmp_path / "open", clusters(["a", "b"], dim=2), metrics=digits_metrics(open=True), dim=2)
    write_report(open_run)
    assert "on a field of another colour" not in read(open_run).said()


def test_regions_are_those_of_what_the_similarity_sees():
    """Under cosine a place counts by its direction."""
    train = torch.tensor([[3.0, 0.1], [5.0, -0.1], [0.1, 9.0], [-0.1, 1.0]])
    fitted = probe(torch.nn.functional.normalize(train, dim=1), torch.tensor([4, 4, 7, 7]))
    far = np.array([[0.01, 0.001], [100.0, 1.0], [1.0, 50.0], [1e-4, 1e-2]])
    assert PlaneProbe(fitted, cosine).predict(far).tolist() == [4, 4, 7, 7]


def test_pairs_have_a_plain_sentence_for_each_figure(report):
    said = read(report).said()
    assert "Each point is a threshold: a stricter one accepts fewer different-class pairs" in said
    assert "Similarities are calibrated by a logistic curve (Platt scaling), fitted to 3,600 validation pairs" in said
    assert "calibration error (ECE) is 1.8 % and the Brier score 0.051 (0.25 at chance level)" in said
    assert re.search(r"TAR at FAR 0\.01 %\s*tar@far=0\.0001\s*too few pairs", said)


def test_the_figures_of_pairs_are_of_the_kept_ones(tmp_path):
    """Ten pairs, kept in the run, in the place of all that there are."""
    held = clusters(["a", "b", "c"])
    folder = write_run(tmp_path / "r", held, metrics=digits_metrics(), epochs=0)
    test = held.part("test")
    pairs = draw(test.labels, 5)
    save(folder / "pairs.parquet", {"test": (test, pairs)})
    write_report(folder)
    assert "5 same-class and 5 different-class held-out pairs." in read(folder).said()


def test_figures_are_kept_as_png_too(report):
    names = {path.name for path in (report / "plots").iterdir()}
    drawn = ["loss", "scores", "active", "map", "before_after", "series", "silhouette", "pairs", "det", "reliability"]
    drawn += ["classes", "brightness", "contrast", "sharpness"]
    assert names == {f"{name}.png" for name in drawn}
    for path in (report / "plots").iterdir():
        with Image.open(path) as image:
            assert (np.asarray(image.convert("L")) < 200).any()


def test_figures_take_the_colours_of_the_page(report):
    text = (report / "report.html").read_text(encoding="utf-8")
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, re.S))
    assert "var(--ink)" in drawn
    assert not re.search("#1c2128|#5f6771|#dde1e6|#ffffff|#000000", drawn)


def test_images_stand_in_the_page_at_their_own_size(report):
    found = read(report)
    images = [v for name, key, v in found.attributes if (name, key) == ("img", "src")]
    of_pairs = re.search(r'<template id="pair-errors">(.*?)</template>', (report / "report.html").read_text(), re.S)
    near_copies = 3 * 4
    assert len(images) == 10 * 4 + 10 * 9 + 2 * 12 + 4 * 4 + near_copies + of_pairs[1].count("<img")
    assert all(v.startswith("data:image/png;base64,") for v in images)


def test_the_recipe_and_the_commands(report):
    said = read(report).said()
    above = report.parent.name
    assert f"likewise train {above}/digits/recipe.toml --name digits-again likewise report {above}/digits" in said
    assert "loss = \"triplet(margin=0.2, pick='semihard')\"" in said


def test_the_same_run_gives_the_same_page(tmp_path):
    folder = write_run(tmp_path / "r", clusters(["a"]), metrics=digits_metrics(), epochs=0)
    assert write_report(folder).read_bytes() == write_report(folder).read_bytes()


def test_a_page_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    folder = write_run(tmp_path / "r", None, epochs=0)
    old = write_report(folder).read_bytes()
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_report(folder)
    assert (folder / "report.html").read_bytes() == old
    assert not list(folder.glob(".*"))


# Hard cases

HARD = ["<script>alert(1)</script>", "a & b", "\"quoted\" 'name'", "</svg></div>", "$x_1$", "_hidden", "日本"]


def test_class_names_are_text_whatever_they_hold(tmp_path):
    folder = write_run(tmp_path / "<i>r", clusters(HARD), metrics=digits_metrics(), epochs=1)
    found = Page(write_report(folder).read_text(encoding="utf-8"))
    said = found.said()
    assert all(" ".join(name.split()) in said for name in HARD)
    assert "<script>alert" not in (folder / "report.html").read_text(encoding="utf-8")
    assert "<i>r" in found.said()


@pytest.mark.parametrize("classes", [1, 300])
def test_one_class_and_three_hundred(classes, tmp_path):
    held = clusters([f"class {c}" for c in range(classes)])
    folder = write_run(tmp_path / "r", held, metrics=digits_metrics(open=True), epochs=0)
    write_report(folder)
    found = read(folder)
    many = {"Confused classes", "Class against class", "Silhouette of each class", "Threshold"}
    empty = {"Before and after training", "Training", "A batch in training", "Images left out", "Images of each part"}
    assert found.headings == [name for name in HEADINGS if name not in (empty if classes > 1 else empty | many)]
    said = found.said()
    assert "Open set: the classes of the test images were not seen in training." in said
    assert (folder / "report.html").read_text(encoding="utf-8").count('<td class="number" data-sort="6">') == classes
    assert ("The 10 largest of 300 classes are coloured." in said) == (classes > 1)
    assert ("None: the nearest neighbour of each of the 6 held-out images is of its class." in said) == (classes == 1)


@pytest.mark.parametrize(
    ("parts", "shown"), [(("train",), False), (("val",), True), (("train", "val"), True), (("test",), True)]
)
def test_parts_that_are_not_there_are_left_out(parts, shown, tmp_path):
    folder = write_run(tmp_path / "r", clusters(["a", "b"], parts=parts), metrics=digits_metrics(split="val"), epochs=0)
    write_report(folder)
    assert ("Nearest neighbours" in read(folder).headings) == shown
    assert "Map of the embedding" in read(folder).headings


@pytest.mark.parametrize("size", [1, 2])
def test_a_test_part_of_one_or_two_images(size, tmp_path):
    held = clusters(["a", "b"], each=3)
    few = held.take([0, 1, 3, 4, *range(6, 6 + size)])
    write_report(write_run(tmp_path / "r", few, metrics=digits_metrics(), epochs=0))
    write_report(write_run(tmp_path / "open", few, metrics=digits_metrics(open=True), epochs=0))
    assert "Nearest neighbours" in read(tmp_path / "r").headings
    assert ("Nearest neighbours" in read(tmp_path / "open").headings) == (size > 1)


def test_a_folder_with_nothing_but_a_recipe(tmp_path):
    folder = write_run(tmp_path / "r", None, epochs=0)
    (folder / "metrics.jsonl").unlink()
    write_report(folder)
    assert read(folder).headings == ["Recipe"]
    assert not (folder / "plots").exists()


def test_a_log_line_cut_short_and_a_metrics_file_of_the_fewest_keys(tmp_path):
    folder = write_run(tmp_path / "r", None, metrics={"scores": {"knn@1": {"value": 0.5}}}, epochs=1)
    with (folder / "metrics.jsonl").open("a") as log:
        log.write('\n{"kind": "tra')
    write_report(folder)
    found = read(folder)
    assert found.headings == ["Scores", "Training", "Recipe"]
    assert "1-NN accuracy: 50.0 % of held-out images have a nearest training image of their own class." in found.said()


def test_what_is_not_a_run_is_said(tmp_path):
    with pytest.raises(ValueError, match="is not a run"):
        write_report(tmp_path)


# HTML


@given(st.text(), st.text())
def test_text_comes_out_of_an_element_as_it_went_in(inside, value):
    inside, value = (re.sub(r"[\x00\r]", "", text) for text in (inside, value))
    parsed = Page(tag("p", inside, title=value, data_none=None))
    assert "".join(parsed.text) == inside
    assert parsed.attributes == [("p", "title", value)]


def test_only_what_the_functions_made_is_markup():
    assert tag("b", "<i>", Html("<i></i>")) == "<b>&lt;i&gt;<i></i></b>"
    assert join("&", 1, Html("&")) == "&amp;1&"
    assert tag("p", class_="a", aria_label="b") == '<p class="a" aria-label="b"></p>'
    assert '<td>&lt;</td><td class="number">2</td>' in table(["a", "b"], [("<", 2)], numbers=[1])


def test_a_image_that_is_not_there_is_a_plate_with_its_id():
    thumbs = Thumbs(digits(20))
    assert thumbs("train/00000").startswith('<img src="data:image/png')
    assert thumbs("<x>") == '<span class="plate" title="&lt;x&gt;">&lt;x&gt;</span>'
    assert Thumbs(None)("a").startswith("<span")


def test_large_images_are_reduced():
    big = digits(20)
    big = type(big)(**{**vars(big), "pixels": big.pixels.repeat(1, 3, 40, 30)})
    assert Thumbs(big)("train/00000").startswith('<img src="data:image/jpeg')
    assert len(Thumbs(big)("train/00000")) < 10_000
