"""Sizes that images are brought to, as they are written (`64`, or `40x64`, height and width), and other aspects.

Needs neither torch nor numpy, so that an exported model fits images as training did.
"""

__all__ = ["FITS", "crop_box", "inner_sides", "plain_size", "sides_of"]

# Images of another aspect are stretched to the size; or padded with the median colour of their border; or cropped to
# their centre. Without distortion in the last two.
FITS = ("stretch", "pad", "crop")

LONGEST = 4096  # side of an image in pixels


def sides_of(size: int | str) -> tuple[int, int] | None:
    """Height and width of `64`, `"64"` or `"40x64"`; None for 0. Errors: ValueError."""
    numbers = [number.strip() for number in str(size).lower().split("x")]
    if len(numbers) > 2 or not all(n.isdecimal() and len(n) <= 4 and int(n) <= LONGEST for n in numbers):
        raise ValueError(f"size is 0 to {LONGEST}, or height x width such as 40x64, got {size!s:.40}")
    height, width = int(numbers[0]), int(numbers[-1])
    if (height == 0) != (width == 0):
        raise ValueError(f"size is height and width above 0, such as 40x64, got {size}")
    return (height, width) if height else None


def plain_size(size: int | str) -> int | str:
    """One number for a square, such as 64, else such as "40x64". Errors: ValueError."""
    height, width = sides_of(size) or (0, 0)
    return height if height == width else f"{height}x{width}"


def inner_sides(height: int, width: int, sides: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the largest image of this aspect inside `sides`: what is padded."""
    high, wide = sides
    if height * wide >= width * high:
        return high, max(1, min(wide, round(high * width / height)))
    return max(1, min(high, round(wide * height / width))), wide


def crop_box(height: int, width: int, sides: tuple[int, int]) -> tuple[int, int, int, int]:
    """Top, left, height and width of the largest central part that has the aspect of `sides`."""
    inside = inner_sides(sides[0], sides[1], (height, width))
    return (height - inside[0]) // 2, (width - inside[1]) // 2, *inside
