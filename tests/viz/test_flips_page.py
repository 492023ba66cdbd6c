"""flips.html: two runs or two epochs over the same queries, counted, listed and on linked maps."""

import base64
import http.client
import json
import re
import threading
from pathlib import Path

import numpy as np
import pytest

from likewise.data.images import Images
from likewise.evaluate import Embeddings
from likewise.evaluate.flips import KINDS
from likewise.experiment.run import Run
from likewise.viz import explorer
from likewise.viz.pages import flips as pages
from likewise.viz.pages.flips import Compared, compared_epochs, compared_runs, write_flips
from likewise.viz.projection import project
from likewise.viz.workspace import write_flips_of
from report_page import Page
from report_run import clusters, digits, digits_metrics, embeddings, keep, write_run


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> tuple[Run, Run, Images]:
    """A run that is worse, one that is better, and their images; the page stands in the second's folder."""
    folder, images = tmp_path_factory.mktemp("runs"), digits(600)
    found = [embeddings(images, progress=progress) for progress in (0.35, 1.0)]
    runs = [write_run(folder / name, one, metrics=digits_metrics()) for name, one in zip("ab", found, strict=True)]
    for epoch, one in zip((0, 3), found, strict=True):
        keep(one, runs[1], epoch)
    first, second = (Run.open(path) for path in runs)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pages, "project", lambda vectors, method: project(vectors, "pca"))  # t-SNE takes seconds
        write_flips(second, compared_runs(first, second), images, other=first)
    return first, second, images


def html(two: tuple[Run, Run, Images]) -> str:
    return (two[1].path / "flips.html").read_text(encoding="utf-8")


def page_data(text: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def numbers(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), f"<{kind}")


def test_the_counts_come_first_and_are_those_of_the_queries(two):
    first, second, _ = two
    compared = compared_runs(first, second)
    found, said = compared.flips, Page(html(two)).said()
    better, worse = found.count("became right"), found.count("became wrong")
    assert better > worse
    assert f"From a to b, {better} queries became right and {worse} became wrong, of 120; p" in said
    assert said.index("became right and") < said.rindex("The same images on two maps")
    assert sum(found.count(kind) for kind in KINDS) == 120
    assert html(two).count('class="pair"') == better + worse + found.count("wrong in another way")


def test_the_data_of_the_maps_are_those_of_both_runs(two):
    compared, data = compared_runs(two[0], two[1]), page_data(html(two))
    ids = data["ids"]
    assert tuple(ids[: data["shown"]]) == compared.flips.ids
    assert numbers(data["groups"], "u1").tolist() == compared.flips.kind.tolist()
    assert len(data["maps"]) == len(data["sides"]) == 2
    for side, ranked, rows in zip(data["sides"], compared.ranked, compared.flips[2:4], strict=True):
        near = [ids[n] for n in numbers(side["neighbours"], "i4")]
        assert near == [ranked.reference.ids[m] for m in ranked.place[rows].ravel()]
        assert numbers(side["similarities"], "f4").tolist() == pytest.approx(ranked.sim[rows].ravel().tolist())
    labels = [data["classes"][c] for c in numbers(data["labels"], "u4")]
    known = Embeddings.load(two[0].embeddings)
    true = dict(zip(known.ids, (known.classes[c] for c in known.labels.tolist()), strict=True))
    assert labels == [true[name] for name in ids]


def test_what_is_not_shown_is_counted(two, monkeypatch):
    monkeypatch.setattr(pages, "project", lambda vectors, method: project(vectors, "pca"))
    monkeypatch.setattr(pages, "MOST", 50)
    monkeypatch.setattr(pages, "ROWS", 2)
    compared = compared_runs(two[0], two[1])
    text = pages.page(two[1], compared, None, None)
    assert "50 of 120 queries, laid out" in Page(text).said()
    assert page_data(text)["shown"] == 50
    thumbs = pages.Thumbs(None)
    listed = "".join(pages.listed(compared, "became right", thumbs, np.arange(120), 2))
    assert f"2 of {compared.flips.count('became right')} queries" in Page(listed).said()
    assert listed.count('class="pair"') == 2


def test_two_epochs_of_a_run(two):
    found = compared_epochs(two[1], 0, 3)
    assert found.titles == ("before training", "epoch 3")
    assert found.flips.kind.tolist() == compared_runs(two[0], two[1]).flips.kind.tolist()
    with pytest.raises(ValueError, match=r"no snapshot of epoch 7; kept are: 0, 3"):
        compared_epochs(two[1], 0, 7)
    with pytest.raises(ValueError, match="two different epochs"):
        compared_epochs(two[1], 3, 3)


def test_what_is_wrong_is_said(two, tmp_path, monkeypatch, capsys):
    from likewise.cli import main

    with pytest.raises(ValueError, match="was given twice"):
        compared_runs(two[0], two[0])
    other = Run.open(write_run(tmp_path / "c", clusters(list("ab")), metrics=digits_metrics()))
    with pytest.raises(ValueError, match="share no query: 120 test images"):
        write_flips_of(two[0].path, other.path, None)
    assert not (other.path / "flips.html").exists()
    for words, wanted in {
        ("--epochs", "1"): "--epochs takes two epochs, such as 1,20",
        ("--epochs", "1,2,3"): "--epochs takes two epochs, such as 1,20",
        (str(two[0].path), "--epochs", "0,3"): "give one RUN with it",
    }.items():
        monkeypatch.setattr("sys.argv", ["likewise", "explore", str(two[1].path), *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert wanted in " ".join(capsys.readouterr().err.split())


def test_both_runs_are_served_and_this_page_first(two):
    first, second, _ = two
    files = explorer.page_files(second.path, first.path)
    assert set(files) == {"b/flips.html"}
    (first.path / "report.html").write_text("report of a", encoding="utf-8")
    try:
        assert set(explorer.page_files(second.path, first.path)) == {"b/flips.html", "a/report.html"}
        assert explorer.front(second.path, first.path) == "b/flips.html"
        assert explorer.front(second.path, flipped=True) == "flips.html"
        with explorer.server(second.path, other=first.path) as serving:
            threading.Thread(target=serving.serve_forever, daemon=True).start()
            answers = {path: got(serving.server_address[1], path) for path in ("/", "/b/flips.html", "/a/report.html")}
            serving.shutdown()
        assert answers["/"][:2] == (302, "/b/flips.html")
        assert answers["/b/flips.html"] == (200, None, html(two))
        assert answers["/a/report.html"] == (200, None, "report of a")
    finally:
        (first.path / "report.html").unlink()
    held = explorer.one_file(second.path, first.path)
    assert json.loads(held.partition('id="pages">')[2].partition("</script>")[0])["first"] == "b/flips.html"


def got(port: int, path: str) -> tuple[int, str | None, str]:
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    asked.request("GET", path)
    answer = asked.getresponse()
    content = answer.read().decode()
    asked.close()
    return answer.status, answer.getheader("Location"), content


def test_a_class_may_be_called_anything(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "project", lambda vectors, method: project(vectors, "pca"))
    bad = ["</script><script>alert(1)</script>", "<b>x", "ok"]
    runs = [Run.open(write_run(tmp_path / name, clusters(bad), metrics=digits_metrics())) for name in "ab"]
    compared: Compared = compared_runs(*runs)
    text = pages.page(runs[1], compared, None, None)
    assert "<script>alert" not in text
    assert "<b>x" not in text


@pytest.mark.system
@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 768), ("light", 390)])
def test_a_browser_links_the_two_maps(browser, two, tmp_path: Path, scheme, width):
    complaints: list[str] = []
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab.set_default_timeout(120_000)
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto((two[1].path / "flips.html").as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    of = compared_runs(two[0], two[1]).flips
    shown = tab.locator("#groups button").nth(KINDS.index("became right"))
    assert shown.locator("span").inner_text() == str(of.count("became right"))
    shown.click()
    assert tab.evaluate("Array.from({length: count}, (_, n) => n).filter(highlighted).length") == of.count(
        "became right"
    )
    # zooming one map centres the other on the images in view
    middle = "maps[0].canvas.clientWidth / 2"
    tab.evaluate(f"grouped.clear(); zoomAt(maps[0], {middle}, {middle}, 4)")
    zoom, x = tab.evaluate("[maps[1].zoom, maps[1].x]")
    assert (zoom, x) != (1, 0)
    tab.locator("#link").click()
    tab.evaluate(f"zoomAt(maps[0], {middle}, {middle}, 2)")
    assert tab.evaluate("[maps[1].zoom, maps[1].x]") == [zoom, x]
    tab.locator("button[data-image]").first.click()
    n = int(tab.locator("button[data-image]").first.get_attribute("data-image") or -1)
    assert tab.evaluate("pinned") == n
    assert tab.locator("#pinned .side").all_inner_texts() == ["a", "b"]
    assert tab.locator("#pinned .near button").count() == 6
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("pinned") != n
    tab.keyboard.press("Escape")
    assert tab.locator("#pinned").is_hidden()
    assert complaints == []
    tab.close()
