"""Which similarity and which scale of the embedding a loss is at home in: what a recipe that says nothing takes."""

from typing import NamedTuple

from likewise import spec

__all__ = ["Home", "home"]


class Home(NamedTuple):
    """A geometry by name, and whether embeddings have length 1."""

    sim: str
    normalize: bool


UNIT = Home("cosine", True)

# Losses that are not at home on the unit sphere. A linear classifier reads direction and length: its embedding keeps
# both, and is compared by direction.
HOMES = {
    "softmax": Home("cosine", False),
    "siamese_bce": Home("manhattan", False),
    "vae": Home("euclidean", False),
    "center_loss": Home("euclidean", False),
    "lifted": Home("euclidean", True),
    "generalized_lifted": Home("euclidean", True),
    "npairs": Home("dot", False),
    "snr_contrastive": Home("snr", False),
}


def home(text: str) -> Home:
    """Where the named loss is at home; a combination is where its first part is. Errors: SpecError."""
    name, settings = spec.parse(text)
    inner = settings.get("loss") or next(iter(settings.get("losses", [])), None)
    if isinstance(inner, str):
        return home(inner)
    if name == "contrastive" and settings.get("margin") is not None:
        return Home("euclidean", False)
    return HOMES.get(name.replace("-", "_"), UNIT)
