"""Decisions on the audit page: which images can be decided on, and the walk with keys, in a browser, to a CSV."""

import json
import threading
from pathlib import Path

import pytest
import torch

from likewise.data.decisions import read_decisions
from likewise.embeddings import Embeddings
from likewise.experiment.run import Run
from likewise.viz import explorer
from likewise.viz.workspace import audit_run
from report_page import Page
from report_run import write_run

NAMES = ("=a", "b</script>", "c")


@pytest.fixture
def run(tmp_path) -> Run:
    """Three far clusters of 12 images each; image 0 is labelled b, and image 13 c."""
    centres = 8 * torch.eye(3).repeat_interleave(12, 0)
    vectors = centres + 0.3 * torch.randn(36, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(3).repeat_interleave(12)
    labels[0], labels[13] = 1, 2
    ids = ("+0.png", *(f'"{n}".png' for n in range(1, 36)))
    held = Embeddings(vectors, labels, ids, torch.zeros(36, dtype=torch.uint8), NAMES)
    made = Run.open(write_run(tmp_path / "r", held, dim=3))
    audit_run(made, None)
    return made


def test_findings_can_be_decided_on_and_their_neighbours_cannot(run):
    text = (run.path / "audit.html").read_text(encoding="utf-8")
    page = Page(text)
    files = [value for _, key, value in page.attributes if key == "data-file"]
    assert set(files[:2]) == {"+0.png", '"13".png'}
    likely = [value for _, key, value in page.attributes if key == "data-likely"]
    assert dict(zip(files[:2], likely[:2], strict=True)) == {"+0.png": "=a", '"13".png': "b</script>"}
    data = json.loads(text.partition('id="decide-data">')[2].partition("</script>")[0])
    assert data == {"run": "r", "classes": sorted(NAMES)}
    assert "likewise train SOURCE --decisions decisions.csv" in page.said()


@pytest.fixture
def served(run):
    """The address at which `likewise explore` serves the run, under its content security policy."""
    with explorer.server(run.path) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{serving.server_address[1]}/"
        serving.shutdown()
        thread.join()


@pytest.mark.slow
@pytest.mark.system
def test_keys_walk_and_decide_and_the_file_is_one_of_decisions(run, served, browser, tmp_path):
    complaints: list[str] = []
    tab = browser.new_page(viewport={"width": 390, "height": 700})
    tab.set_default_timeout(60_000)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(f"{served}audit.html")
    first, second = (tab.locator("[data-file]").nth(n).get_attribute("data-file") for n in (0, 1))
    assert tab.get_by_role("button", name="Save").is_disabled()
    for key in ("ArrowRight", "k", "ArrowLeft", "x"):
        tab.keyboard.press(key)
    assert tab.locator(".decided").first.inner_text() == "✗ remove"
    assert second in tab.locator("#decide-at").inner_text()
    tab.keyboard.press("r")
    assert tab.locator("#decide-label").evaluate("node => node === document.activeElement")
    likely = tab.locator("[data-file]").nth(1).get_attribute("data-likely")
    tab.keyboard.press("Enter")
    assert tab.locator(".decided").nth(1).inner_text() == f"→ {likely}"
    tab.reload()
    assert tab.locator("#decide-count").inner_text().startswith("2 of ")
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Save").click()
    saved = tmp_path / "decisions.csv"
    download.value.save_as(saved)
    found = read_decisions(saved)
    labels = {"+0.png": ("b</script>", "=a"), '"13".png': ("c", "b</script>")}
    assert [one[1:] for one in found.values()] == [
        (first, labels[first][0], "remove", ""),
        (second, labels[second][0], "relabel", labels[second][1]),
    ]
    assert not any(line.startswith(("=", "+", '"=', '"+')) for line in saved.read_text(encoding="utf-8").splitlines())
    tab.locator("[data-file]").first.click()
    tab.get_by_role("button", name="Undo").click()
    assert tab.locator("#decide-count").inner_text().startswith("1 of ")
    box = tab.locator("#decide").bounding_box()
    assert box["width"] <= 390
    assert Path(saved).exists()
    assert complaints == []
