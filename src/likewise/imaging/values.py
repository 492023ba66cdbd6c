"""Images of floats are 0 to 1, or have negative values; 0 to 255 that was not scaled is recognised by its range."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor

__all__ = ["check_unit_range"]

HIGHEST = 2.0  # noise and resizing leave 0 to 1 by a little


def check_unit_range(images: "ndarray | Tensor", what: str = "they") -> None:
    """Refuse floats, an array or a tensor, in the range of bytes: from 0 to far above 1.

    Those with negative values are other measurements (decibels, deviations) and pass, whatever their range.
    Errors: ValueError that names their range.
    """
    if 0 in images.shape:
        return
    low, high = float(images.min()), float(images.max())
    if low >= 0 and high > HIGHEST:
        raise ValueError(
            f"images of floats are 0 to 1, and {what} hold {low:g} to {high:g}; divide them by 255, or pass uint8; "
            "subtract the mean of other measurements"
        )
