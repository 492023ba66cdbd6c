"""A browser opens the report from disk: no request, no complaint, nothing beyond the edge, light and dark."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likewise.viz.pages.report import write_report
from report_page import HEADINGS
from report_run import digits_run

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The run folder of a finished report on digits."""
    folder, images = digits_run(tmp_path_factory.mktemp("runs") / "digits")
    (folder / "skipped.csv").write_text('id,why\n"a,<b>.png",0 bytes\n', encoding="utf-8")
    assert write_report(folder, images) == folder / "report.html"
    return folder


@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 1100), ("light", 390), ("dark", 390)])
def test_a_browser_shows_it_without_asking_anyone(browser, report, tmp_path, scheme, width):
    asked, told = [], []
    tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    tab.set_default_timeout(120_000)  # a busy machine is no failure
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
    with Image.open(tmp_path / "page.png") as image:
        grey = np.asarray(image.convert("L"))
    paper = grey[0, 0]
    assert (paper > 240) == (scheme == "light")
    rows = (np.abs(grey.astype(int) - paper) > 60).any(1)
    assert rows.mean() > 0.4


def test_it_prints_on_light_paper(browser, report, tmp_path):
    tab = browser.new_page(color_scheme="dark")
    tab.set_default_timeout(120_000)  # a busy machine is no failure
    tab.goto((report / "report.html").as_uri())
    tab.emulate_media(media="print")
    tab.screenshot(path=tmp_path / "print.png")
    assert tab.pdf(format="A4").startswith(b"%PDF")
    tab.close()
    with Image.open(tmp_path / "print.png") as image:
        assert image.convert("L").getpixel((0, 0)) == 255
