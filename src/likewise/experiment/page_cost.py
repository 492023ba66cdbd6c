"""What the pages of a run cost, and which of them are worth it after a short training."""

__all__ = ["POINTS", "map_method", "pages_seconds", "worth_an_audit"]

POINTS = 4_000  # images on the map that is drawn unasked, as many as a snapshot holds
SHARE = 0.1  # of the training: what a page may cost that nobody asked for
AUDIT = 0.0015  # seconds an image, on one core
TSNE = 0.004  # seconds a point, on one core, of each of two maps


def worth_an_audit(images: int, seconds: float) -> bool:
    """Whether an audit of so many images costs less than SHARE of a training of so many seconds."""
    return images >= 3 and AUDIT * images <= SHARE * seconds


def map_method(images: int, seconds: float) -> str:
    """`tsne` where two maps by it cost less than SHARE of the training, else `pca`."""
    return "tsne" if 2 * TSNE * min(images, POINTS) <= SHARE * seconds else "pca"


def pages_seconds(images: int, seconds: float) -> float:
    """Estimated seconds of audit and map after a training of so many seconds."""
    audit = AUDIT * images if worth_an_audit(images, seconds) else 0.0
    return audit + (2 * TSNE * min(images, POINTS) if map_method(images, seconds) == "tsne" else 0.0)
