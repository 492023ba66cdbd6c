"""map.html: the same images before and after training, in one page that asks nobody for anything."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from likewise import api, geometry
from likewise.data.decisions import read_decisions
from likewise.experiment.run import Run
from likewise.viz import plots
from likewise.viz.pages import map as pages
from likewise.viz.pages.map import colours, mapped, write_map
from likewise.viz.pages.map_data import GRID, NOWHERE, UNKNOWN, neighbourhood, places, shown, sprites
from report_page import Page
from report_run import clusters, digits, digits_run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder, images = digits_run(tmp_path_factory.mktemp("runs") / "digits")
    write_map(Run.open(folder), images, method="pca")
    return Run.open(folder)


def page_data(run: Run) -> dict:
    text = (run.path / "map.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def numbers(text: str, kind: str) -> np.ndarray:
    """What the script unpacks."""
    return np.frombuffer(base64.b64decode(text), f"<{kind}")


def test_it_shows_the_same_images_before_and_after(run):
    page = Page((run.path / "map.html").read_text(encoding="utf-8"))
    assert "PCA of the embedding" in page.headings
    assert sum(name == "canvas" for name, key, _ in page.attributes if key == "data-map") == 2
    assert "before training" in page.text
    data, last = page_data(run), mapped(run).stages["after training"]
    held_out = int((last.split != 0).sum())
    assert f"All 1,797 images of 10 classes: {held_out} held out (larger)" in page.said()
    assert tuple(data["ids"]) == last.ids
    assert data["shown"] == len(last)
    assert [len(numbers(one, "u2")) for one in data["maps"]] == [2 * len(last)] * 2
    assert numbers(data["parts"], "u1").tolist() == last.split.tolist()
    assert numbers(data["labels"], "u4").tolist() == last.labels.tolist()
    assert (run.path / "plots" / "pca.png").exists()


@pytest.mark.slow
def test_what_is_left_out_is_counted(run):
    write_map(run, method="pca", most=500)
    try:
        said = Page((run.path / "map.html").read_text(encoding="utf-8")).said()
        assert "500 of 1,797 images of 10 classes" in said
        data = page_data(run)
        assert data["shown"] == 500
        assert len(data["ids"]) > 500, "neighbours that are not on the map are still named"
        assert data["sprites"] is None
        assert numbers(data["neighbours"], "i4").max() < len(data["ids"])
    finally:
        write_map(run, digits_run(run.path.parent / "again")[1], method="pca")


def test_an_image_that_was_not_kept_before_training_has_no_place_there(run):
    found = mapped(run)
    part = found.stages["before training"].take([3, 1, 2])
    placed = pages.placed(part, pages.clouds({"x": part}, "pca")["x"], found.stages["after training"])
    where = [found.stages["after training"].ids.index(name) for name in part.ids]
    assert (placed[where] != NOWHERE).all()
    assert (np.delete(placed, where, axis=0) == NOWHERE).all()


def test_neighbours_are_those_of_a_loop():
    found = clusters(list("abcd"), parts=("train", "test"))
    at = np.array([1, 5, 24, 30, 47])
    around = neighbourhood(found, at, geometry.cosine, k=3)
    train = [n for n in range(len(found)) if found.split[n] == 0]
    for row, n in enumerate(at.tolist()):
        sims = {m: float(geometry.cosine(found.vectors[n : n + 1], found.vectors[m : m + 1])) for m in train if m != n}
        best = sorted(sims, key=lambda m: -sims[m])[:3]
        assert around.place[row].tolist() == best
        assert around.sim[row].tolist() == pytest.approx([sims[m] for m in best], abs=1e-5)
        assert around.right[row] == int(found.labels[best[0]] == found.labels[n])


def test_new_classes_are_searched_among_themselves():
    found = clusters(list("ab"), each=3, parts=("train", "test"))
    found = type(found)(**{**vars(found), "labels": found.labels + 2 * (found.split == 2), "classes": tuple("abcd")})
    around = neighbourhood(found, np.arange(12), geometry.cosine, k=9)
    assert set(around.place[6:].ravel().tolist()) <= {-1, *range(6, 12)}
    assert set(around.place[:6].ravel().tolist()) <= {-1, *range(6)}
    assert (around.place == -1).sum(1).tolist() == [4] * 12
    alone = neighbourhood(found.take([0, 6]), np.arange(2), geometry.cosine)
    assert alone.right.tolist() == [UNKNOWN, UNKNOWN]


def test_sprites_hold_each_image_in_its_place(monkeypatch):
    from likewise.viz.pages import map_data

    monkeypatch.setattr(map_data, "SHEET", 70)
    images = digits(100)
    ids = images.ids[::-1]
    found = sprites(ids, images)
    assert found is not None
    assert (found["side"], found["columns"], len(found["sheets"])) == (16, 64, 2)
    for n in (0, 63, 64, 69, 70, 99):
        with Image.open(io.BytesIO(base64.b64decode(found["sheets"][n // 70].partition(",")[2]))) as sheet:
            k = n % 70
            x, y = k % 64 * 16, k // 64 * 16
            cut = np.asarray(sheet.convert("L").crop((x + 4, y + 4, x + 12, y + 12)))
        wanted = images.pixels[images.ids.index(ids[n])][0].numpy()
        assert np.array_equal(cut, wanted)
    assert sprites(("gone",), images) is None
    assert sprites(ids, None) is None


def test_many_thumbnails_are_smaller(monkeypatch):
    from likewise.viz.pages import map_data

    images = digits(40)
    big = type(images)(**{**vars(images), "pixels": images.pixels.repeat(1, 3, 20, 10)})
    assert (sprites(big.ids, big) or {})["side"] == 64
    monkeypatch.setattr(map_data, "PIXELS", 40 * 30 * 30)
    small = sprites(big.ids, big) or {}
    assert small["side"] == 30
    assert small["sheets"][0].startswith("data:image/jpeg")


def test_it_asks_for_nothing(run):
    text = (run.path / "map.html").read_text(encoding="utf-8")
    asked = [value or "" for _, key, value in Page(text).attributes if key in {"src", "href"}]
    assert {value for value in asked if not value.startswith(("data:", "#"))} <= {"map.html", "report.html"}
    assert "http" not in text
    assert "@import" not in text


def test_every_image_keeps_its_place_in_the_data(run):
    data, last = page_data(run), mapped(run).stages["after training"]
    xy_N2 = pages.clouds({"x": last}, "pca")["x"].xy
    assert np.array_equal(places(xy_N2), numbers(data["maps"][-1], "u2").reshape(-1, 2))


def test_places_by_hand():
    """The longer side fills the grid, the shorter one is centred, and up is up."""
    assert places(np.array([[0.0, 0.0], [4.0, 2.0], [2.0, 1.0]])).tolist() == [
        [0, GRID * 3 // 4],
        [GRID, GRID // 4],
        [GRID // 2, GRID // 2],
    ]
    assert places(np.zeros((2, 2))).tolist() == [[GRID // 2, GRID // 2]] * 2


@pytest.mark.parametrize("classes", [10, 81])
def test_every_class_has_a_colour_of_its_own(classes):
    found = colours(torch.arange(classes), classes)
    assert len(set(found)) == classes
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in found)


def test_a_class_may_be_called_anything(tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "recipe.toml").write_text('data = "digits"\nsim = "cosine"\n')
    classes = ["</script><b>", '"quoted"', "ß\u2028é", "=1+1"]
    clusters(classes).save(folder / "embeddings.parquet")
    write_map(Run.open(folder), method="pca")
    assert page_data(Run.open(folder))["classes"] == classes
    assert page_data(Run.open(folder))["sprites"] is None, "without the data there is no image to show"
    assert list(mapped(Run.open(folder)).stages) == ["after training"]


def test_large_sets_are_thinned_and_parts_are_kept():
    found = clusters(list("abcdefgh"), each=10)
    assert found.split[shown(found, 40)].bincount().tolist() == [20, 0, 20]
    assert len(shown(found, 160)) == 160
    few = found.take([*range(80), 80, 90])
    assert few.split[shown(few, 40)].bincount().tolist() == [38, 0, 2], "room that one part leaves is the other's"


def test_what_is_wrong_is_said(run, tmp_path):
    with pytest.raises(ValueError, match="no map method is named 'tnse'; did you mean tsne"):
        api.draw_map(run.path, method="tnse")
    (tmp_path / "recipe.toml").write_text('data = "digits"\n')
    with pytest.raises(ValueError, match="has no embeddings yet; run `likewise evaluate"):
        api.draw_map(tmp_path)


def test_neighbour_rows_says_what_is_right():
    images = np.zeros((3, 3, 4, 4), dtype=np.uint8)
    figure = plots.neighbour_rows([images], [["asked", "one", "other"]], [[True, False]])
    titles = [ax.get_title(loc="center") for ax in figure.axes]
    assert titles == ["asked", "✓ one", "✗ other"]
    frames = [ax.spines["left"].get_edgecolor() for ax in figure.axes]
    assert len(set(frames)) == 3
    for titles, right in (([["asked", "one"]], [[True, False]]), ([["asked", "one", "other"]], [[True]])):
        with pytest.raises(ValueError, match="a query and its neighbours"):
            plots.neighbour_rows([images], titles, right)


@pytest.mark.slow
def test_t_sne_is_drawn_of_a_run(tmp_path):
    folder, _ = digits_run(tmp_path / "digits")
    path = write_map(Run.open(folder))
    assert "t-SNE of the embedding" in path.read_text(encoding="utf-8")
    assert (folder / "plots" / "tsne.png").exists()


@pytest.mark.system
@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 390)])
def test_a_browser_shows_an_image_under_the_pointer(browser, run, scheme, width):
    complaints: list[str] = []
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab.set_default_timeout(120_000)
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto((run.path / "map.html").as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    first = "maps[0].canvas"
    tab.evaluate(f"{first}.scrollIntoView({{behavior: 'instant'}})")
    n = [part > 0 for part in numbers(page_data(run)["parts"], "u1").tolist()].index(True)
    where = f"(() => {{ const box = {first}.getBoundingClientRect(), [x, y] = at(maps[0], {n}); "
    x, y, found = tab.evaluate(where + "return [box.left + x + 1, box.top + y + 1, under(maps[0], x, y)]; })()")
    tab.mouse.move(x, y)
    told_of = tab.locator("#card").inner_text()
    assert page_data(run)["ids"][found] in told_of
    tab.mouse.click(x, y)
    assert page_data(run)["ids"][found] in tab.locator("#pinned .about").inner_text()
    assert tab.locator("#pinned .near button").count() == 5
    assert tab.locator("#pinned canvas").count() == 6
    tab.locator("canvas[data-map]").first.focus()
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("pinned") not in (-1, found)
    tab.keyboard.press("Escape")
    assert tab.locator("#pinned").is_hidden()
    lasso(tab, first)
    said = tab.locator("#selected p").inner_text()
    assert re.match(r"[\d,]+ images selected", said)
    with tab.expect_download() as download:
        tab.get_by_text("Save as CSV").click()
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "id,class,part,right"
    assert len(lines) - 1 == int(said.split(" ")[0].replace(",", ""))
    tab.get_by_text("Let go").click()
    for colouring in ("part", "right"):
        tab.locator("#colour").select_option(colouring)
    tab.locator(".classes button").first.click()
    assert tab.locator(".classes button").first.get_attribute("aria-pressed") == "true"
    tab.locator("#find").fill("7")
    assert tab.locator(".classes button:visible").all_inner_texts()[0].startswith("7")
    assert complaints == []


def lasso(tab, first: str) -> None:
    """A loop around most of the map, after the button."""
    tab.locator("#lasso").click()
    left, top, side = tab.evaluate(f"(b => [b.left, b.top, b.width])({first}.getBoundingClientRect())")
    corners = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98)]
    tab.mouse.move(left + corners[0][0] * side, top + corners[0][1] * side)
    tab.mouse.down()
    for x, y in corners[1:]:
        tab.mouse.move(left + x * side, top + y * side, steps=3)
    tab.mouse.up()


@pytest.mark.system
def test_images_are_decided_on_alone_and_as_a_group(browser, run, tmp_path):
    complaints: list[str] = []
    tab = browser.new_context(viewport={"width": 390, "height": 800}).new_page()
    tab.set_default_timeout(120_000)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto((run.path / "map.html").as_uri())
    assert tab.locator("#decide").is_hidden()
    ids, classes, labels = (page_data(run)[key] for key in ("ids", "classes", "labels"))
    names = [classes[c] for c in numbers(labels, "u4")]
    tab.evaluate("pin(3)")
    tab.keyboard.press("x")
    assert tab.locator("#decide-at").inner_text() == f"{ids[3]}, {names[3]}: ✗ remove"
    group = [n for n in range(10, 50) if names[n] != "7"][:5]
    tab.evaluate(f"pin(-1); select({group})")
    assert tab.locator("#decide-at").inner_text().startswith("5 selected images")
    tab.locator("#decide-label").fill("7")
    tab.locator("#decide-label").press("Enter")
    tab.evaluate(f"select([]); pin({group[0]})")
    tab.get_by_role("button", name="Undo").click()
    tab.reload()
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Save decisions.csv").click()
    saved = tmp_path / "decisions.csv"
    download.value.save_as(saved)
    expected = {(ids[3], names[3], "remove", "")} | {(ids[n], names[n], "relabel", "7") for n in group[1:]}
    assert {one[1:] for one in read_decisions(saved).values()} == expected
    assert complaints == []
    tab.context.close()


@pytest.mark.system
def test_a_finger_pins_an_image(browser, run):
    tab = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True).new_page()
    tab.set_default_timeout(120_000)
    tab.goto((run.path / "map.html").as_uri())
    tab.evaluate("maps[0].canvas.scrollIntoView({behavior: 'instant'})")
    left, top = tab.evaluate("(b => [b.left, b.top])(maps[0].canvas.getBoundingClientRect())")
    x, y = tab.evaluate("at(maps[0], 0)")
    tab.touchscreen.tap(left + x + 1, top + y + 1)
    tab.locator("#pinned .about").wait_for()


def test_vectors_are_laid_out_as_they_are_compared():
    vectors = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    assert torch.equal(pages.as_compared(vectors, "euclidean"), vectors)
    torch.testing.assert_close(pages.as_compared(vectors, "cosine"), torch.tensor([[0.6, 0.8]] * 2))


def test_embeddings_alone_are_enough(tmp_path):
    (tmp_path / "recipe.toml").write_text('data = "digits"\nsim = "euclidean"\nnormalize = false\n')
    found = clusters(list("abc"))
    found.save(tmp_path / "embeddings.parquet")
    drawn = pages.clouds(mapped(Run.open(tmp_path)).stages, "pca", sim="euclidean")["after training"]
    assert drawn.xy.shape == (len(found), 2)
