"""What a quick look for near-copies between parts says, with the way out."""

from collections.abc import Callable, Sequence

from likewise import spec
from likewise.data.images import Images
from likewise.data.scenes import TELLING, Overlap, overlaps

__all__ = ["counted", "look", "sentences"]


def look(images: Images, split: str, say: Callable[[str], None], *, seed: int = 0) -> list[Overlap]:
    """Compare a seeded sample of the parts and say what leaks. A few hundred thumbnails, whatever the data's size."""
    overlapping = overlaps(images, seed=seed)
    for sentence in sentences(overlapping, images, split):
        say(sentence)
    return overlapping


def counted(images: Images, split: str, *, seed: int = 0) -> list[dict[str, object]]:
    """What the quick look found of each pair of parts, and the split that keeps bursts together, for metrics.json."""
    return [
        {
            "part": o.part,
            "other": o.other,
            "copies": o.copies,
            "checked": o.checked,
            "split": way_out(images, split).rpartition("split=")[2] if o.part in images.drawn else "",
        }
        for o in overlaps(images, seed=seed)
        if o.checked
    ]


def sentences(overlapping: Sequence[Overlap], images: Images, split: str) -> list[str]:
    """One for each pair of parts of which TELLING or more of what was checked has a near-copy."""
    return [sentence(o, images, split) for o in overlapping if o.checked and o.share >= TELLING and o.copies >= 2]


def sentence(o: Overlap, images: Images, split: str) -> str:
    drawn = o.part in images.drawn
    base = (
        f"{o.copies:,} of {o.checked:,} {o.part} images checked ({o.share:.0%}) have a near-copy in {o.other}, as "
        f"shots of one burst are, so {'validation' if o.part == 'val' else 'test'} scores are too good"
    )
    if not drawn:
        return f"{base}; the source came with these parts, and `likewise audit` lists the images"
    return f"{base}; keep each burst in one part with {way_out(images, split)}"


def way_out(images: Images, split: str) -> str:
    """The split to ask for instead of `split`."""
    name = spec.parse(split)[0]
    if name in ("by_scene", "auto") and images.groups is None:
        return "a column of groups (--group-column), or groups in file names (--group-from), and split=by_group"
    if name != "by_group" and images.groups is not None:
        return "split=by_group"
    return "split=by_scene"
