"""Images of floats are 0 to 1; images of 0 to 255 that were not scaled are recognised by their range."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor

__all__ = ["check_unit_range"]

# Noise and resizing leave 0 to 1 by a little, standardised images by a few deviations: neither is meant.
HIGHEST, FARTHEST = 2.0, 16.0


def check_unit_range(images: "ndarray | Tensor", what: str = "they") -> None:
    """Refuse floats, an array or a tensor, in the range of bytes. Errors: ValueError that names their range."""
    if 0 in images.shape:
        return
    low, high = float(images.min()), float(images.max())
    if (low >= 0 and high > HIGHEST) or max(-low, high) > FARTHEST:
        raise ValueError(
            f"images of floats are 0 to 1, and {what} hold {low:g} to {high:g}; divide them by 255, or pass uint8"
        )
