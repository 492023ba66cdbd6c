"""Builds the documentation site, without a network: `python tools/build_site.py`, which `make site` calls.

The sources keep their places (README.md, docs/, examples/ ...), so that a link that works in a clone works on the site.
The reference and the notebooks are made first; zensical.toml holds navigation and looks.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import reference_pages
import site_links

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "build" / "site-source"
SITE = ROOT / "build" / "site"
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
FOLDERS = ("docs", "benchmarks/results")

# Opened from disk, a page may neither start a worker from a file nor fetch one; it may start one from its own text.
WORKER = """\
if (location.protocol === "file:") {
  const code = %s;
  const Native = window.Worker;
  window.Worker = function () {
    return new Native(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  };
}
"""
SHIM = "https://unpkg.com/iframe-worker/shim"


def build() -> Path:
    """Make the sources, the pages and the notebooks, check every link, and return the first page."""
    for folder in (SOURCE, SITE):
        shutil.rmtree(folder, ignore_errors=True)
    gather()
    subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=ROOT, check=True)
    make_search_local()
    broken = site_links.broken(SITE)
    if broken:
        sys.exit("\n".join(["the site has links that lead nowhere:", *broken]))
    return SITE / "index.html"


def gather() -> None:
    """Everything that becomes a page, in one folder."""
    SOURCE.mkdir(parents=True)
    for page in PAGES:
        shutil.copy(ROOT / page, SOURCE / page)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, SOURCE / folder)
    reference_pages.write(SOURCE / "docs" / "reference")
    for script in sorted((ROOT / "examples").glob("*.py")):
        notebook(script)
    for page in SOURCE.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        linked = re.sub(r"(\]\((?:\.\./)*examples/\w+)\.py\)", r"\1.md)", text)
        page.write_text(indented(linked), encoding="utf-8")


MARKER = re.compile(r"(?:[-*]|\d+\.) ")


def indented(text: str) -> str:
    """What belongs to a point of a list, indented by four, as the site's Markdown asks; others take two or three."""
    lines: list[str] = []
    width, loose, fenced = 0, False, False  # of the point's text; whether a blank line was in it; inside a code block
    for line in text.splitlines():
        marker = None if fenced else MARKER.match(line)
        if marker:
            if loose and lines[-1]:
                lines.append("")
            width, loose = marker.end(), False
        elif line and not line.startswith(" " * width):
            width = 0
        elif width:
            loose = loose or not line
            line = " " * (4 - width) + line if line else line
        fenced ^= line.lstrip().startswith("```")
        lines.append(line)
    return "\n".join(lines) + "\n"


def notebook(script: Path) -> None:
    """The script as a page, and as a notebook to open in Jupyter."""
    read = jupytext.read(script)
    for folder in ("examples", "notebooks"):
        (SOURCE / folder).mkdir(exist_ok=True)
    texts = [cell for cell in read.cells if cell.cell_type == "markdown"]
    for cell in texts:
        cell.source = re.sub(r"\]\((\w+)\.py\)", r"](\1.md)", cell.source)
    page = "".join(f"{cell.source}\n\n" if cell in texts else fenced(cell.source) for cell in read.cells)
    for cell in texts:  # a notebook is no page: it links to the other notebooks, and to pages as they are built
        cell.source = re.sub(r"\]\((\w+)\.md\)", r"](\1.ipynb)", cell.source)
        cell.source = re.sub(r"\]\((\.\./docs/[\w-]+)\.md", r"](\1.html", cell.source)
    jupytext.write(read, SOURCE / "notebooks" / f"{script.stem}.ipynb", fmt="ipynb")
    title, _, text = page.partition("\n")
    linked = f"Run it: `python examples/{script.name}`, or open [the notebook](../notebooks/{script.stem}.ipynb).\n"
    (SOURCE / "examples" / f"{script.stem}.md").write_text(f"{title}\n\n{linked}{text}", encoding="utf-8")


def fenced(code: str) -> str:
    return f"```python\n{code}\n```\n\n"


def make_search_local() -> None:
    """Search starts a worker, which a page opened from disk may not load: give it the text, in place of a script of
    another host."""
    (worker,) = (SITE / "assets/javascripts/workers").glob("search.*.js")
    code = json.dumps(worker.read_text(encoding="utf-8"))
    (SITE / "assets/javascripts/worker.js").write_text(WORKER % code, encoding="utf-8")
    for page in SITE.rglob("*.html"):
        above = "../" * (len(page.relative_to(SITE).parts) - 1)
        text = page.read_text(encoding="utf-8").replace(SHIM, f"{above}assets/javascripts/worker.js")
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    print(f"The site is in {build().relative_to(ROOT)}; open it in a browser.")
