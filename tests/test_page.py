"""report.html: what it says, what it escapes, what it leaves out, and how a browser shows it."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import silhouette_samples

from likewise import geometry
from likewise.evaluate import Embeddings
from likewise.page import findings, words, write_report
from likewise.page.html import Html, Thumbs, join, table, tag
from report_run import SCORES, clusters, digits, digits_metrics, digits_run, of_vectors, score, write_run

VOID = {"br", "img", "meta", "link"}
HEADINGS = [
    "Scores", "Training", "Map of the embedding", "Before and after training", "Nearest neighbours", "Worst errors",
    "Confused classes", "Silhouette of each class", "Similarity of pairs", "Class by class", "Pictures left out",
    "Recipe",
]  # fmt: skip


class Page(HTMLParser):
    """A page taken apart; an element that is not closed in its place fails."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.path: list[str] = []
        self.text: list[str] = []
        self.headings: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.feed(text)
        self.close()
        assert not self.path

    def handle_starttag(self, name, attributes):
        self.attributes += [(name, key, value) for key, value in attributes]
        if name not in VOID:
            self.path.append(name)

    def handle_startendtag(self, name, attributes):
        self.attributes += [(name, key, value) for key, value in attributes]

    def handle_endtag(self, name):
        assert self.path.pop() == name

    def handle_data(self, data):
        if "style" not in self.path:
            self.text.append(data)
        if self.path and self.path[-1] == "h2":
            self.headings.append(data)

    def said(self) -> str:
        return " ".join("".join(self.text).replace("\N{NO-BREAK SPACE}", " ").split())

    def ids(self) -> list[str | None]:
        return [value for _, key, value in self.attributes if key == "id"]


def read(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


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
    assert all(value.startswith(("data:", "#")) for _, value in asked)
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", text)
    assert "<script" not in text
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
        "95.8 % of held-out digits are named correctly by their nearest training neighbour "
        "(95 % interval 94.6 to 97.0, 360 pictures)." in said
    )
    assert "Closed set: the test pictures are new, their classes were seen in training." in said
    assert "is at least 0.561 (95 % interval 0.540 to 0.580). The threshold was chosen on validation pairs" in said
    assert "At 0.2 (dashed)" in said
    assert "too few to say" in said
    assert "nan" not in said.lower()


def test_figures_are_kept_as_png_too(report):
    names = {path.name for path in (report / "plots").iterdir()}
    drawn = ["loss", "scores", "active", "map", "before_after", "series", "silhouette", "pairs"]
    assert names == {f"{name}.png" for name in drawn}
    for path in (report / "plots").iterdir():
        with Image.open(path) as picture:
            assert (np.asarray(picture.convert("L")) < 200).any()


def test_figures_take_the_colours_of_the_page(report):
    text = (report / "report.html").read_text(encoding="utf-8")
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, re.S))
    assert "var(--ink)" in drawn
    assert not re.search("#1c2128|#5f6771|#dde1e6|#ffffff|#000000", drawn)


def test_pictures_stand_in_the_page_at_their_own_size(report):
    found = read(report)
    pictures = [v for name, key, v in found.attributes if (name, key) == ("img", "src")]
    assert len(pictures) == 10 * 9 + 2 * 12
    assert all(v.startswith("data:image/png;base64,") for v in pictures)


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
    assert "script" not in {name for name, _, _ in found.attributes}
    assert "<i>r" in found.said()


@pytest.mark.parametrize("classes", [1, 300])
def test_one_class_and_three_hundred(classes, tmp_path):
    held = clusters([f"class {c}" for c in range(classes)])
    folder = write_run(tmp_path / "r", held, metrics=digits_metrics(open=True), epochs=0)
    write_report(folder)
    found = read(folder)
    parts = ["Scores", "Map of the embedding", "Nearest neighbours", "Worst errors"]
    many = ["Confused classes", "Silhouette of each class", "Similarity of pairs"] if classes > 1 else []
    assert found.headings == [*parts, *many, "Class by class", "Recipe"]
    said = found.said()
    assert "Open set: the classes of the test pictures were never seen in training." in said
    assert ("The other 280 classes" in said) == (classes > 1)
    assert ("Of 300 classes the 10 with the most pictures are coloured." in said) == (classes > 1)
    assert ("None: the nearest neighbour of all 6 held-out pictures is of their class." in said) == (classes == 1)


@pytest.mark.parametrize(
    ("parts", "shown"), [(("train",), False), (("val",), True), (("train", "val"), True), (("test",), True)]
)
def test_parts_that_are_not_there_are_left_out(parts, shown, tmp_path):
    folder = write_run(tmp_path / "r", clusters(["a", "b"], parts=parts), metrics=digits_metrics(split="val"), epochs=0)
    write_report(folder)
    assert ("Nearest neighbours" in read(folder).headings) == shown
    assert "Map of the embedding" in read(folder).headings


@pytest.mark.parametrize("size", [1, 2])
def test_a_test_part_of_one_or_two_pictures(size, tmp_path):
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
    assert "50.0 % of held-out pictures are named correctly by their nearest training neighbour." in found.said()


def test_what_is_not_a_run_is_said(tmp_path):
    with pytest.raises(ValueError, match="is not a run"):
        write_report(tmp_path)


# Words


@pytest.mark.parametrize("name", [*SCORES, "knn@10", "precision@5", "recall@4", "tar@far=0.0001", "few_shot@5w5s"])
def test_every_score_has_words(name):
    sentence, meaning = words.say(name, score(0.5)) or ("", "")
    assert sentence.endswith(".")
    assert meaning.endswith(".")
    assert "{" not in sentence + meaning + words.title(name)
    assert words.number(name, 0.5) in sentence


def test_a_score_without_words_is_still_shown():
    assert words.say("brier{}", score(0.5)) is None
    assert words.title("brier{}") == "brier{}"
    assert words.number("brier{}", -0.5) == "−0.500"


def test_numbers_as_they_are_said():
    assert words.percent(0.98123) == "98.1\N{NO-BREAK SPACE}%"
    assert words.interval("knn@1", {"value": 0.5, "low": 0.25, "high": 0.75}) == "25.0 to 75.0"
    assert words.interval("silhouette", {"value": 0.0, "low": -0.1, "high": 0.1}) == "−0.100 to 0.100"
    assert words.interval("knn@1", {"value": 0.5, "low": float("nan"), "high": 0.7}) == ""
    assert words.interval("knn@1", {"value": 0.5}) == ""
    assert words.title("tar@far=0.01") == "TAR at FAR 1 %"
    assert words.title("few_shot@20w1s") == "20-way, 1-shot"
    assert words.aim("far=0.001") == "the most same-class pairs accepted at no more than 0.001 of the others"
    said = words.say("knn@1", score(0.981, 360, 0.01), data="mnist", open_set=True)
    assert said is not None
    assert said[0].startswith(
        "98.1\N{NO-BREAK SPACE}% of held-out digits are most similar to a picture of their own class"
    )


# Findings


def looped(query: Embeddings, reference: Embeddings | None, q: int) -> list[int]:
    """The neighbours of one query, best first, by an explicit loop."""
    others = query if reference is None else reference
    told = []
    for n in range(len(others)):
        if reference is not None or n != q:
            told.append((-float(torch.cosine_similarity(query.vectors[q], others.vectors[n], dim=0)), n))
    return [n for _, n in sorted(told)]


@pytest.mark.parametrize("alone", [True, False])
def test_neighbours_equal_an_explicit_loop(alone):
    held = clusters(list("abcd"))
    query, reference = held.part("test"), None if alone else held.part("train")
    found = findings.nearest(query, reference, geometry.cosine, k=5)
    assert found is not None
    for q in range(len(query)):
        assert found.place[q].tolist() == looped(query, reference, q)[:5]
        others = query if alone else reference
        assert found.hit[q].tolist() == [bool(others.labels[n] == query.labels[q]) for n in found.place[q]]


def by_hand(truth: list[int], named: list[int], sims: list[float]) -> findings.Neighbours:
    """Queries whose only neighbour is a reference of the class `named`."""
    images = digits(len(truth))
    vectors = np.zeros((len(truth), 2))
    query = of_vectors(vectors, images)
    query = type(query)(**{**vars(query), "labels": torch.tensor(truth)})
    reference = type(query)(
        **{**vars(query), "labels": torch.tensor(named), "ids": tuple(f"r{n}" for n in range(len(named)))}
    )
    return findings.Neighbours(query, reference, np.arange(len(truth))[:, None], np.array(sims)[:, None])


def test_errors_confusions_and_samples_by_hand():
    found = by_hand([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 1, 1], [0.9, 0.5, 0.8, 0.9, 0.7, 0.6])
    assert findings.errors(found) == [2, 4, 5, 1]
    assert findings.errors(found, most=2) == [2, 4]
    assert findings.confused(found) == [(2, 1, 2), (0, 1, 1), (1, 0, 1)]
    assert findings.samples(found) == [0, 2, 4]
    assert findings.samples(found, most=2) == [0, 4]


def test_two_pictures_that_name_each_other_are_one_error():
    held = clusters(["a", "b"], each=1, parts=("test",))
    found = findings.nearest(held, None, geometry.cosine)
    assert found is not None
    assert (~found.hit[:, 0]).sum() == 2
    assert findings.errors(found) == [0]


def test_similarities_are_those_of_pairs_of_their_kind():
    held = clusters(["a", "b", "c"])
    found = findings.similarities(held, geometry.euclidean)
    assert found is not None
    far_NN = -torch.cdist(held.vectors, held.vectors)
    same_NN = held.labels[:, None] == held.labels[None]
    for values, mask_NN in ((found.same, same_NN), (found.different, ~same_NN)):
        allowed = far_NN[mask_NN & ~torch.eye(len(held), dtype=torch.bool)].numpy()
        assert np.abs(values[:, None] - allowed[None]).min(1).max() < 1e-4


def test_silhouettes_equal_scikit_learn_at_unit_length():
    held = clusters(["a", "b", "c"])
    values_N, labels_N = findings.silhouettes(held, unit=True) or (None, None)
    unit_ND = torch.nn.functional.normalize(held.vectors, dim=1).numpy()
    np.testing.assert_allclose(values_N, silhouette_samples(unit_ND, held.labels.numpy()), atol=1e-6)
    np.testing.assert_array_equal(labels_N, held.labels)
    assert findings.silhouettes(clusters(["a"]), unit=True) is None
    assert len((findings.silhouettes(held, unit=False, most=10) or ([], []))[0]) == 10


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


def test_a_picture_that_is_not_there_is_a_plate_with_its_id():
    thumbs = Thumbs(digits(20))
    assert thumbs("train/00000").startswith('<img src="data:image/png')
    assert thumbs("<x>") == '<span class="plate" title="&lt;x&gt;">&lt;x&gt;</span>'
    assert Thumbs(None)("a").startswith("<span")


def test_large_pictures_are_reduced():
    big = digits(20)
    big = type(big)(**{**vars(big), "pixels": big.pixels.repeat(1, 3, 40, 30)})
    assert Thumbs(big)("train/00000").startswith('<img src="data:image/jpeg')
    assert len(Thumbs(big)("train/00000")) < 10_000


# The browser


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or pytest.skip("needs the program chromium")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.system
@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 1100), ("light", 390), ("dark", 390)])
def test_a_browser_shows_it_without_asking_anyone(browser, report, tmp_path, scheme, width):
    asked, told = [], []
    tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: told.append(message.text))
    tab.on("pageerror", lambda error: told.append(str(error)))
    tab.goto((report / "report.html").as_uri())
    assert [url for url in asked if not url.startswith("data:")] == [(report / "report.html").as_uri()]
    assert told == []
    assert tab.locator("h2").all_inner_texts() == HEADINGS
    assert all(tab.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)"))
    assert tab.evaluate("document.documentElement.scrollWidth") <= width  # nothing reaches beyond a phone's edge
    tab.screenshot(path=tmp_path / "page.png", full_page=True)
    tab.close()
    with Image.open(tmp_path / "page.png") as picture:
        grey = np.asarray(picture.convert("L"))
    paper = grey[0, 0]
    assert (paper > 240) == (scheme == "light")
    rows = (np.abs(grey.astype(int) - paper) > 60).any(1)
    assert rows.mean() > 0.4


@pytest.mark.system
def test_it_prints_on_light_paper(browser, report, tmp_path):
    tab = browser.new_page(color_scheme="dark")
    tab.goto((report / "report.html").as_uri())
    tab.emulate_media(media="print")
    tab.screenshot(path=tmp_path / "print.png")
    assert tab.pdf(format="A4").startswith(b"%PDF")
    tab.close()
    with Image.open(tmp_path / "print.png") as picture:
        assert picture.convert("L").getpixel((0, 0)) == 255
