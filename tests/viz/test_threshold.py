"""The threshold section: counts at every position of the slider, and what the browser makes of them."""

import numpy as np
import pytest

from likewise.viz.pages.findings import Similarities
from likewise.viz.pages.report import write_report
from likewise.viz.pages.threshold import STEPS, counts
from report_page import Page
from report_run import clusters, digits_metrics, digits_run, write_run


def test_counts_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    pairs = Similarities(rng.normal(0.6, 0.2, 200).astype(np.float32), rng.normal(0.0, 0.3, 900).astype(np.float32))
    found = counts(pairs)
    assert found is not None
    for at in (0, 1, 137, 300, STEPS):
        assert found.same[at] == (pairs.same >= found.edges[at]).sum()
        assert found.different[at] == (pairs.different >= found.edges[at]).sum()
    assert (found.same[0], found.different[0]) == (200, 900)
    assert (found.same[STEPS], found.different[STEPS]) == (0, 0)
    at = found.at_most(0.01)
    assert found.different[at] <= 9 < found.different[at - 1]
    at = found.equal_errors()
    far, frr = found.different[at] / 900, 1 - found.same[at] / 200
    assert abs(far - frr) < 0.03


def test_without_one_kind_of_pair_there_is_no_slider():
    assert counts(Similarities(np.ones(3, np.float32), np.zeros(0, np.float32))) is None
    assert counts(Similarities(np.ones(3, np.float32), np.ones(3, np.float32))) is not None


@pytest.mark.slow
def test_the_numbers_stand_there_without_a_script(tmp_path):
    folder = write_run(tmp_path / "r", clusters(["a", "b", "c"]), metrics=digits_metrics(threshold=None), epochs=1)
    write_report(folder)
    said = Page((folder / "report.html").read_text(encoding="utf-8")).said()
    assert "different pairs accepted" in said
    assert "same pairs rejected" in said
    assert "equal errors" in said
    assert "chosen on validationequal" not in said


@pytest.mark.system
def test_the_slider_and_the_table_in_a_browser(browser, tmp_path):
    folder, images = digits_run(tmp_path / "digits", snapshots=())
    write_report(folder, images)
    tab = browser.new_page(viewport={"width": 390, "height": 800})
    tab.set_default_timeout(120_000)
    tab.goto((folder / "report.html").as_uri())
    assert tab.evaluate("document.images[0].getBoundingClientRect().top") < 1000
    first = tab.locator("#th-far").inner_text()
    tab.locator("#at").focus()
    for _ in range(40):
        tab.keyboard.press("ArrowLeft")
    lower = tab.locator("#th-far").inner_text()
    assert float(lower.split()[0]) > float(first.split()[0])
    assert tab.locator("#at").get_attribute("aria-valuetext").split(": ")[1].startswith("FAR")
    tab.get_by_role("button", name="chosen on validation").click()
    assert tab.locator("#th-far").inner_text() == first
    classes = tab.locator("table.sortable").first
    rows = "table => [...table.tBodies[0].rows].map(row => row.cells[0].textContent)"
    head = classes.locator("th button").first
    head.click()
    assert classes.evaluate(rows) == sorted("0123456789")
    head.press("Enter")
    assert classes.evaluate(rows) == sorted("0123456789", reverse=True)
