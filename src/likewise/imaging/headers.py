"""Read orientation and transparency from image headers, and convert 16 bits to 8.

Uses numpy and Pillow only, for decoding with torch (`decode`) and without it (the reader of an exported model).
"""

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

__all__ = ["ORIENTATION", "TURNED", "eight_bits", "grey_alpha", "orientation", "true_transparency"]

ORIENTATION = 0x0112  # the EXIF tag
TURNED = (5, 6, 7, 8)  # the orientations that change height and width over
# How Pillow unpacks PNGs of other than 8 bits, and the factor from their numbers, which tRNS uses, to Pillow's.
SCALED = {"1": 255, "L;2": 85, "L;4": 17}


def orientation(image: "PillowImage") -> int:
    """EXIF orientation, 2 to 8; 1 (upright) if it is missing or invalid, such as 0, 9 or a text.

    Pillow rotates TIFFs upright itself.
    """
    if "exif" not in image.info:
        return 1
    with suppress(Exception):  # broken metadata is no reason to lose a good image
        turn = int(image.getexif().get(ORIENTATION, 1))
        return turn if 1 <= turn <= 8 else 1
    return 1


def true_transparency(image: "PillowImage") -> None:
    """Convert the transparent colour of a PNG (tRNS) to the scale of the pixels that Pillow unpacks.

    Pillow keeps it as written: 15 for white of 4 bits, where pixels get 255; 16-bit colours, where they lose a byte.
    """
    colour = image.info.get("transparency")
    packing = next((tile[3] for tile in getattr(image, "tile", ())), None)
    packing = packing[0] if isinstance(packing, tuple) and packing else packing
    if isinstance(colour, int) and packing in SCALED:
        image.info["transparency"] = min(colour * SCALED[packing], 255)
    elif isinstance(colour, tuple) and packing == "RGB;16B":
        image.info["transparency"] = tuple(number >> 8 for number in colour)


def eight_bits(values: np.ndarray) -> np.ndarray:
    """0 to 65,535 as 0 to 255, rounded. Errors: ValueError for numbers that have no agreed range."""
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise ValueError(
            "its numbers are neither 8 nor 16 bits a pixel, so black and white are unknown; save it as 8 or 16 bits"
        )
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def grey_alpha(image: "PillowImage") -> "PillowImage":
    """A grey image of 16 bits in 8: "L", or "LA" where a grey of it is transparent. Errors: ValueError."""
    from PIL import Image

    values = np.asarray(image)
    grey = Image.fromarray(eight_bits(values))
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return grey
    # compare all 16 bits: neighbouring greys round to the same 8 bits
    alpha = Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))
    return Image.merge("LA", (grey, alpha))
