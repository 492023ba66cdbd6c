"""Frame time of map.html while panning and zooming 100,000 images in Chromium, and the size of the page.

    python benchmarks/map_frames.py [--images 100000] [--chromium PATH]

Writes benchmarks/results/map_frames.md. Needs Debian's chromium and playwright. The embedding and the images are made:
100 Gaussian classes in 16 dimensions, 28 x 28 grey noise around a class mean; half are training images.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import torch
from machine import write

from likewise.data.images import Images
from likewise.embeddings import Embeddings
from likewise.viz.pages import map as pages

CLASSES, DIM, SIDE, FRAMES = 100, 16, 28, 120
MEASURE = """async ([frames, zoom]) => {
  const map = maps[0], drawn = [], gaps = [];
  Object.assign(map, { zoom, x: 0, y: 0 });
  let before = performance.now();
  for (let i = 0; i < frames; i++) {
    const now = await new Promise(requestAnimationFrame);
    map.x += i % 40 < 20 ? 4 : -4;
    const start = performance.now();
    draw(map);
    drawn.push(performance.now() - start);
    gaps.push(now - before);
    before = now;
  }
  return [drawn.slice(10), gaps.slice(10)];
}"""
FIND = """() => {
  const start = performance.now();
  for (let i = 0; i < 1000; i++) under(maps[0], Math.random() * 500, Math.random() * 500);
  return (performance.now() - start) / 1000;
}"""


def made(n: int) -> tuple[Embeddings, Images]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % CLASSES
    split = (torch.arange(n) // CLASSES % 2 * 2).to(torch.uint8)
    centres = torch.randn(CLASSES, DIM, generator=generator)
    vectors = centres[labels] + 0.5 * torch.randn(n, DIM, generator=generator)
    ids, classes = tuple(f"image_{k:06d}.png" for k in range(n)), tuple(f"class {c}" for c in range(CLASSES))
    means = torch.randint(0, 200, (CLASSES, 1, SIDE, SIDE), generator=generator)
    pixels = (means[labels] + torch.randint(0, 55, (n, 1, SIDE, SIDE), generator=generator)).to(torch.uint8)
    return Embeddings(vectors, labels, ids, split, classes), Images(pixels, labels, classes, ids, split, name="made")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    embeddings, images = made(options.images)
    started = time.perf_counter()
    at = pages.shown(embeddings, pages.MOST)
    found = pages.Mapped(embeddings, at, {"after training": embeddings.take(at.tolist())})
    text = pages.page("made", found, pages.clouds(found.stages, "pca"), images, "pca")
    seconds = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "map.html"
        path.write_text(text, encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1100, "height": 1200})
        tab.set_default_timeout(600_000)
        started = time.perf_counter()
        tab.goto(path.as_uri())
        tab.evaluate("() => Promise.all(sheets.map(sheet => sheet.decode()))")
        load = time.perf_counter() - started
        rows = [(f"panning at zoom {zoom:g}", *tab.evaluate(MEASURE, [FRAMES, zoom])) for zoom in (1, 4)]
        find, side = tab.evaluate(FIND), tab.evaluate("maps[0].canvas.width")
        browser.close()
    about = (
        f"{options.images:,} images in one file of {len(text) / 1e6:.1f} MB, written in {seconds:.0f} s (PCA, "
        f"neighbours, thumbnails) and loaded in {load:.1f} s with all thumbnails decoded. Chromium without a GPU, a "
        f"canvas of {side} x {side} pixels. The image under the pointer is found in {1000 * find:.0f} µs."
    )
    heads = ("drawing, median", "drawing, 95 %", "between frames, median", "between frames, 95 %")
    lines = [f"| | {' | '.join(heads)} |", "|---|---:|---:|---:|---:|"]
    for name, drawn, gaps in rows:
        cells = [f"{value:.1f} ms" for of in (drawn, gaps) for value in (statistics.median(of), high(of))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    write("map_frames", "\n".join(lines), about)


def high(values: list[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


if __name__ == "__main__":
    main()
