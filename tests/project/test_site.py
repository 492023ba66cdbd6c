"""The documentation site: everything is in its navigation, and every link of it leads somewhere."""

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import likewise

ROOT = Path(__file__).parents[2]


def tool(name: str):
    found = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def listed(entries: list | str) -> list[str]:
    """The pages of the navigation, in order."""
    if isinstance(entries, str):
        return [entries]
    return [page for entry in entries for inside in entry.values() for page in listed(inside)]


@pytest.fixture(scope="module")
def pages() -> list[str]:
    return listed(tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"])


def test_every_document_is_in_the_navigation_once(pages):
    documents = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
    notebooks = {f"examples/{script.stem}.md" for script in (ROOT / "examples").glob("*.py")}
    written = {page for page in pages if page.startswith(("docs/", "examples/")) and "/reference/" not in page}
    assert written == documents | notebooks
    assert len(set(pages)) == len(pages)


def test_what_belongs_to_a_point_of_a_list_is_indented_by_four():
    pytest.importorskip("griffe")
    pytest.importorskip("jupytext")
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        indented = tool("build_site").indented
    finally:
        sys.path.remove(str(ROOT / "tools"))
    text = (
        "- one\n  more\n\n  | a |\n  |---|\n- two\n  - inside\n\n1. three\n\n   ```sh\n   - x\n   ```\n\ntext\n  two\n"
    )
    assert indented(text) == (
        "- one\n    more\n\n    | a |\n    |---|\n\n- two\n    - inside\n\n"
        "1. three\n\n    ```sh\n    - x\n    ```\n\ntext\n  two\n"
    )


PAGE = """<head><link rel="canonical" href="https://example.org/"><link rel="stylesheet" href="a.css"></head>
<a href="https://example.org/x">elsewhere</a><a href="b.html#there">b</a><a href="#here">here</a><p id="here">
"""
WRONG = {
    '<a href="c.html">': "c.html: no such file",
    '<a href="b.html#nowhere">': "b.html#nowhere: no such anchor",
    '<a href="#nowhere">': "#nowhere: no such anchor",
    '<a href="../x.html">': "../x.html: leads out of the site",
    '<script src="https://example.org/x.js"></script>': "https://example.org/x.js: fetched from another host",
    '<img src="//example.org/x.png">': "//example.org/x.png: fetched from another host",
    '<link rel="stylesheet" href="https://example.org/x.css">': "https://example.org/x.css: fetched from another host",
}


@pytest.fixture
def small(tmp_path) -> Path:
    (tmp_path / "a.css").write_text("p { color: red }", encoding="utf-8")
    (tmp_path / "a.html").write_text(PAGE, encoding="utf-8")
    (tmp_path / "b.html").write_text('<h2 id="there">There</h2>', encoding="utf-8")
    return tmp_path


def test_links_that_work_are_not_reported(small):
    assert tool("site_links").broken(small) == []


@pytest.mark.parametrize("tag", WRONG)
def test_links_that_lead_nowhere_are_reported(tag, small):
    (small / "a.html").write_text(PAGE + tag, encoding="utf-8")
    assert tool("site_links").broken(small) == [f"a.html: {WRONG[tag]}"]


def test_styles_of_another_host_are_reported(small):
    (small / "a.css").write_text('@import "https://example.org/f.css"; p { background: url(x.png) }', encoding="utf-8")
    assert tool("site_links").broken(small) == ["a.css: https://example.org/f.css: fetched from another host"]


@pytest.fixture(scope="module")
def site() -> Path:
    """Built as `make site` builds it; it ends with an error where a link leads nowhere."""
    for package in ("zensical", "griffe", "jupytext"):
        pytest.importorskip(package)
    subprocess.run([sys.executable, str(ROOT / "tools" / "build_site.py")], check=True, timeout=280)
    return ROOT / "build" / "site"


@pytest.mark.slow
def test_the_site_builds_and_every_link_leads_somewhere(site, pages):
    assert tool("site_links").broken(site) == []
    for page in pages:
        file = "index.html" if page == "README.md" else page.replace(".md", ".html")
        assert "<h1" in (site / file).read_text(encoding="utf-8"), page
    reference = (site / "docs/reference/public.html").read_text(encoding="utf-8")
    assert all(f'id="{name.lower()}"' in reference for name in likewise.__all__)
    assert {file.stem for file in (site / "notebooks").glob("*.ipynb")} == {
        Path(page).stem for page in pages if page.startswith("examples/")
    }


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_pages_fit_and_ask_no_other_host(site, pages, browser, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    for name in pages:
        file = "index.html" if name == "README.md" else name.replace(".md", ".html")
        page.goto((site / file).as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    page.close()
    assert not errors
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.mark.slow
@pytest.mark.system
def test_search_works_from_disk(site, browser):
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto((site / "docs" / "tutorial.html").as_uri())
    page.keyboard.press("Control+k")
    page.keyboard.type("calibrate")
    page.get_by_text("gallery calibrate").first.wait_for(timeout=10_000)
    page.close()
