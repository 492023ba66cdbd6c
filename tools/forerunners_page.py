"""Puts the sections that `likewise reproduce` wrote into docs/forerunners.md: `python tools/forerunners_page.py [DIR]`.

DIR is where the experiments are kept, reproductions/ unless it is given. A section stands between two marks, so that
those of experiments that were not run now stay as they are.
"""

import re
import shutil
import sys
from pathlib import Path

from likewise.reproduce import EXPERIMENTS
from likewise.reproduce.section import IMAGE_FOLDER

DOCS = Path(__file__).parent.parent / "docs"
PAGE = "forerunners.md"
MOST = 150_000  # bytes of an image in the repository

INTRO = """\
# The forerunners

Public siamese-network projects, each rerun with its own settings: the figures it reports, ours by its definition, and
ours by standard definitions, with 95 % intervals. `likewise reproduce NAME` runs one of them into `reproductions/NAME`;
`make forerunners` runs them all in a little over two hours on one core and writes this page. All figures are from such
runs, with seed 0 unless stated otherwise.
"""


def put(page: str, name: str, text: str) -> str:
    """The page with this section in place of the earlier one, or at the end."""
    begin, end = (f"<!-- {mark} {name} -->" for mark in ("begin", "end"))
    block = f"{begin}\n{text.strip()}\n{end}"
    if begin not in page:
        return f"{page.rstrip()}\n\n{block}\n"
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: block, page, flags=re.DOTALL)


def gather(source: Path, docs: Path) -> list[str]:
    """Write the page and copy the pictures that it shows; returns the names of the sections found."""
    found = {name: path for name in EXPERIMENTS if (path := source / name / f"{name}.md").exists()}
    page = (docs / PAGE).read_text(encoding="utf-8") if (docs / PAGE).exists() else INTRO
    (docs / IMAGE_FOLDER).mkdir(parents=True, exist_ok=True)
    for name, path in found.items():
        text = path.read_text(encoding="utf-8")
        for file in re.findall(rf"\]\({IMAGE_FOLDER}/([^)]+)\)", text):
            if (path.parent / file).stat().st_size > MOST:
                raise ValueError(f"{path.parent / file} is larger than {MOST:,} bytes, too large for the repository")
            shutil.copyfile(path.parent / file, docs / IMAGE_FOLDER / file)
        page = put(page, name, text)
    (docs / PAGE).write_text(page, encoding="utf-8")
    return list(found)


if __name__ == "__main__":
    print(*gather(Path(sys.argv[1] if len(sys.argv) > 1 else "reproductions"), DOCS))
