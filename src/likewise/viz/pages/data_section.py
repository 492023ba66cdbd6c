"""Report section: the images of each part, counted and measured."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from likewise.data.images import SPLITS, Images
from likewise.imaging.decode import Head
from likewise.viz import plots
from likewise.viz.pages import data_findings as findings
from likewise.viz.pages.cases import card
from likewise.viz.pages.charts import shown
from likewise.viz.pages.data_findings import MEASURES, Look, Shift
from likewise.viz.pages.html import Html, Sorted, Thumbs, asset, script, scrolled, table, tag
from likewise.viz.pages.run_data import RunData
from likewise.viz.pages.score_texts import percent
from likewise.viz.plots.style import decimal

__all__ = ["images_of_parts"]

CLASSES = 1_000  # rows of the table of classes
LARGEST = 3  # bursts that are shown
EACH = 4  # images at the end of a measure, or of a burst
NAMES = {"train": "Training", "val": "Validation", "test": "Test"}
HIGHER = {"brightness": "brighter", "contrast": "richer in contrast", "sharpness": "sharper"}
LOWER = {"brightness": "darker", "contrast": "poorer in contrast", "sharpness": "less sharp"}
LOWEST = {"brightness": "Darkest", "contrast": "Least contrast", "sharpness": "Least sharp"}


def images_of_parts(m: RunData) -> list[Html]:
    """Counts of every part and class, how the images look, where parts differ, and the images at the ends."""
    if m.images is None:
        return []
    count_CS, seen = findings.counts(m.images), findings.looks(m.images)
    heads_of_part = findings.heads(m.images, str(m.recipe.get("data", "")))
    return [
        tag("p", *_introduction(m.images, seen)),
        *(tag("p", sentence(one), class_="note") for one in findings.shifts(seen)),
        table(*_parts(m.images, count_CS, seen, heads_of_part)),
        *_figures(m, seen),
        *_ends(m.images, seen),
        *_bursts(m.images),
        _classes(m.images, count_CS),
    ]


def sentence(one: Shift) -> str:
    """A difference in words."""
    is_higher = one.chance > 0.5
    word, share = (HIGHER if is_higher else LOWER)[one.measure], max(one.chance, 1 - one.chance)
    return (
        f"{NAMES[one.part]} images are {word} than training images: so is one of them beside a training image in "
        f"{percent(share)} of pairs (50 % where there is no difference). "
        "Scores on them are scores on another kind of images."
    )


def _introduction(images: Images, seen: Mapping[str, Look]) -> Iterator[str]:
    kind, number = "images" if len(images.shape) == 3 else "rows of numbers", len(images.classes)
    yield f"{len(images):,} {kind} of {number:,} class{'es' if number != 1 else ''}"
    if len(images.shape) == 3:
        channels, height, width = images.shape
        yield f", read as {height} × {width} pixels in {'colour' if channels == 3 else 'grey'}"
    yield ". "
    if sampled := [look for look in seen.values() if len(look.places) < look.of]:
        of = " and ".join(f"{look.of:,}" for look in sampled)
        yield f"Brightness, contrast and sharpness are measured on {findings.MOST:,} images, drawn at random, of each "
        yield f"part that has more ({of}). "
    if seen:
        yield "Brightness is the mean grey, 0 to 1; contrast its standard deviation; sharpness that of the Laplacian, "
        yield "low where an image is blurred or empty."


def _parts(
    images: Images, count_CS: np.ndarray, seen: Mapping[str, Look], heads_of_part: Mapping[str, Sequence[Head]]
) -> tuple[list[str], list[list[object]]]:
    """Head and rows of the table of parts."""
    heads = ["Part", "Images", "Classes", "Images a class: fewest, median, most"]
    heads += ["Groups"] if images.groups else []
    heads += ["Size of the files: smallest, median, largest"] if heads_of_part else []
    heads += [f"{name.capitalize()}: 5 %, median, 95 %" for name in MEASURES] if seen else []
    rows = []
    for number, part in enumerate(SPLITS):
        some = count_CS[count_CS[:, number] > 0, number]
        if not len(some):
            continue
        spread = f"{some.min():,}, {np.median(some):,.10g}, {some.max():,}"
        row: list[object] = [NAMES[part], f"{some.sum():,}", f"{len(some):,}", spread]
        if images.groups:
            places = np.flatnonzero(images.split.cpu().numpy() == number).tolist()
            row.append(f"{len({images.groups[i] for i in places}):,}")
        if heads_of_part:
            row.append(_sizes(heads_of_part.get(part, ())))
        for name in MEASURES if seen else ():
            row.append(", ".join(decimal(v, 3) for v in np.percentile(seen[part].values[name], [5, 50, 95]).tolist()))
        rows.append(row)
    return heads, rows


def _sizes(heads: Sequence[Head]) -> str:
    """Width and height of the smallest, the median and the largest file by area; once where all are alike."""
    picked = [heads[0], heads[len(heads) // 2], heads[-1]] if heads else []
    texts = [f"{one.width:,} × {one.height:,}" for one in picked]
    return texts[0] if len(set(texts)) == 1 else ", ".join(texts)


def _figures(m: RunData, seen: Mapping[str, Look]) -> Iterator[Html]:
    if seen:
        drawn = (
            shown(
                m,
                name,
                plots.part_histogram({NAMES[part]: look.values[name] for part, look in seen.items()}, xlabel=name),
                f"{name.capitalize()} of the images of each part.",
            )
            for name in MEASURES
        )
        yield tag("div", *drawn, class_="figures")


def _ends(images: Images, seen: Mapping[str, Look]) -> Iterator[Html]:
    """The darkest, brightest, flattest and least sharp of the measured images, with class and value."""
    if not seen:
        return
    thumbs = Thumbs(images)
    place_M = np.concatenate([look.places for look in seen.values()])
    for name, title, sign in (*((name, LOWEST[name], 1) for name in MEASURES), ("brightness", "Brightest", -1)):
        value_M = np.concatenate([look.values[name] for look in seen.values()])
        cards = []
        for i in np.argsort(sign * value_M, kind="stable")[:EACH].tolist():
            at = int(place_M[i])
            label = images.classes[int(images.labels[at])]
            below = f"{NAMES[SPLITS[int(images.split[at])]].lower()}, {decimal(float(value_M[i]), 3)}"
            cards.append(card(thumbs(images.ids[at]), label, below))
        yield tag(
            "div", tag("div", title, class_="query"), scrolled("neighbours", f"{title} images", *cards), class_="row"
        )


def _bursts(images: Images) -> Iterator[Html]:
    """How many images are near-copies of others, and images of the largest bursts, with the parts they are in."""
    listed = findings.bursts(images)
    if listed is None:
        if len(images.shape) == 3:
            yield tag("p", f"Near-copies are looked for in up to {findings.BURSTS:,} images; the audit looks in all.")
        return
    if not listed:
        yield tag("p", "No two images of a class are near-copies, as shots of one burst are.")
        return
    inside, across = sum(len(one.places) for one in listed), sum(len(one.parts) > 1 for one in listed)
    lies = "none lies" if not across else "one of them lies" if across == 1 else f"{across:,} of them lie"
    yield tag(
        "p",
        f"{inside:,} images ({percent(inside / len(images))}) are near-copies of another one of their class, in "
        f"{len(listed):,} burst{'s' * (len(listed) > 1)}; {lies} in more than one part. The largest:",
    )
    thumbs = Thumbs(images)
    for one in listed[:LARGEST]:
        cards = []
        for at in one.places[:: max(1, len(one.places) // EACH)][:EACH]:
            part = NAMES[SPLITS[int(images.split[at])]].lower()
            cards.append(card(thumbs(images.ids[at]), images.classes[int(images.labels[at])], part))
        title = f"{len(one.places):,} near-copies"
        yield tag("div", tag("div", title, class_="query"), scrolled("neighbours", title, *cards), class_="row")


def _classes(images: Images, count_CS: np.ndarray) -> Html:
    """Images of every class in each part, folded; the largest class first."""
    parts = [number for number in range(len(SPLITS)) if count_CS[:, number].any()]
    order = np.argsort(-count_CS.sum(1), kind="stable")
    rows = [
        [images.classes[c], *(Sorted(f"{n:,}", n) for n in (count_CS[c, parts].tolist()))]
        for c in order[:CLASSES].tolist()
    ]
    title = f"Images of each class: {min(CLASSES, len(order)):,} of {len(order):,} classes, the largest first"
    head = ["Class", *(NAMES[SPLITS[number]] for number in parts)]
    numbers = list(range(1, len(head)))
    rows_shown = tag("div", table(head, rows, numbers=numbers, class_="sortable"), class_="tall")
    return tag("details", tag("summary", title), rows_shown, script(asset("sort.js")))
