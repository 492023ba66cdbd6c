"""Which similarity and which scale of the embedding a loss is at home in: what a recipe that says nothing takes."""

from typing import NamedTuple

from likewise import spec

__all__ = ["Geometry", "default_geometry"]


class Geometry(NamedTuple):
    """A geometry by name, and whether embeddings have length 1."""

    sim: str
    normalize: bool


UNIT = Geometry("cosine", True)

# Losses that are not at home on the unit sphere. A linear classifier reads direction and length: its embedding keeps
# both, and is compared by direction.
HOMES = {
    "softmax": Geometry("cosine", False),
    "siamese_bce": Geometry("manhattan", False),
    "vae": Geometry("euclidean", False),
    "center_loss": Geometry("euclidean", False),
    "lifted": Geometry("euclidean", True),
    "generalized_lifted": Geometry("euclidean", True),
    "npairs": Geometry("dot", False),
    "snr_contrastive": Geometry("snr", False),
}


def default_geometry(text: str) -> Geometry:
    """Where the named loss is at home; a combination is where its first part is. Errors: SpecError."""
    name, settings = spec.parse(text)
    inner = settings.get("loss") or next(iter(settings.get("losses", [])), None)
    if isinstance(inner, str):
        return default_geometry(inner)
    if name == "contrastive" and settings.get("margin") is not None:
        return Geometry("euclidean", False)
    return HOMES.get(name.replace("-", "_"), UNIT)
