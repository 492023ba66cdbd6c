"""map.html: the same images before and after training, in one page that asks nobody for anything."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

from likewise import api
from likewise.experiment.run import Run
from likewise.viz import plots
from likewise.viz.pages import map as pages
from likewise.viz.pages.map import GRID, colours, places, stages, write_map
from report_page import Page
from report_run import clusters, digits_run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder, images = digits_run(tmp_path_factory.mktemp("runs") / "digits")
    write_map(Run.open(folder), images, method="pca")
    return Run.open(folder)


def page_data(run: Run) -> dict:
    text = (run.path / "map.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_it_shows_the_same_images_before_and_after(run):
    page = Page((run.path / "map.html").read_text(encoding="utf-8"))
    assert "PCA of the embedding" in page.headings
    assert sum(name == "canvas" for name, key, _ in page.attributes if key == "data-map") == 2
    assert "before training" in page.text
    data, last = page_data(run), list(stages(run).values())[-1]
    assert tuple(data["ids"]) == last.ids
    assert len(data["maps"]) == 2
    assert all(len(one) == len(data["ids"]) == len(data["labels"]) == len(data["images"]) for one in data["maps"])
    assert data["held_out"] == [int(s != 0) for s in last.split.tolist()]
    assert (run.path / "plots" / "pca.png").exists()


def test_it_asks_for_nothing(run):
    text = (run.path / "map.html").read_text(encoding="utf-8")
    asked = [value or "" for _, key, value in Page(text).attributes if key in {"src", "href"}]
    assert all(value.startswith(("data:", "#")) for value in asked)
    assert "http" not in text
    assert "@import" not in text


def test_every_image_keeps_its_place_in_the_data(run):
    """The first held-out image: where PCA puts it, and the thumbnail of that very image."""
    data, last = page_data(run), list(stages(run).values())[-1]
    xy_N2 = pages.clouds({"x": last}, "pca")["x"].xy
    assert np.array_equal(places(xy_N2), np.array(data["maps"][-1]))
    _, images = digits_run(run.path.parent / "again")
    n = data["held_out"].index(1)
    assert data["images"][n] == pages.data_uri(images.pixels[images.ids.index(data["ids"][n])].numpy())


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
    assert page_data(Run.open(folder))["images"] == [], "without the data there is no image to show"
    assert list(stages(Run.open(folder))) == ["after training"]


def test_large_sets_are_thinned_and_parts_are_kept(monkeypatch):
    monkeypatch.setattr(pages, "POINTS", 20)
    found = clusters(list("abcdefgh"), each=10)
    kept = pages.some(found)
    assert kept.split.bincount().tolist() == [20, 0, 20]


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
def test_a_browser_shows_a_image_under_the_pointer(run, scheme, width):
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or pytest.skip("needs the program chromium")
    complaints: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        tab.set_default_timeout(120_000)
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto((run.path / "map.html").as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        first = "maps[0].canvas"
        tab.evaluate(f"{first}.scrollIntoView({{behavior: 'instant'}})")
        n = page_data(run)["held_out"].index(1)
        where = f"(() => {{ const box = {first}.getBoundingClientRect(), [x, y] = at(maps[0], {n}); "
        x, y, found = tab.evaluate(where + "return [box.left + x + 1, box.top + y + 1, under(maps[0], x, y)]; })()")
        tab.mouse.move(x, y)
        told_of = tab.locator("#card").inner_text()
        assert page_data(run)["ids"][found] in told_of
        assert "held out" in told_of
        tab.locator(".classes button").first.click()
        assert tab.locator(".classes button").first.get_attribute("aria-pressed") == "true"
        tab.locator("#find").fill("7")
        assert tab.locator(".classes button:visible").all_inner_texts()[0].startswith("7")
        browser.close()
    assert complaints == []


def test_vectors_are_laid_out_as_they_are_compared():
    vectors = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    assert torch.equal(pages.as_compared(vectors, "euclidean"), vectors)
    torch.testing.assert_close(pages.as_compared(vectors, "cosine"), torch.tensor([[0.6, 0.8]] * 2))


def test_embeddings_alone_are_enough(tmp_path):
    (tmp_path / "recipe.toml").write_text('data = "digits"\nsim = "euclidean"\nnormalize = false\n')
    found = clusters(list("abc"))
    found.save(tmp_path / "embeddings.parquet")
    drawn = pages.clouds(stages(Run.open(tmp_path)), "pca", sim="euclidean")["after training"]
    assert drawn.xy.shape == (len(found), 2)
