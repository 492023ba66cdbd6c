"""Convert the input of `Embedder.embed` (tensors, arrays, images, paths, lists of them, Images) to batches of tensors.

uint8 stays uint8 and float stays float: the Embedder scales the one by 1/255 and takes the other as it is. An
antialiased bilinear filter changes sizes; images of another aspect are stretched, padded or cropped (imaging/sizes.py);
colour becomes grey by ITU-R 601-2, to the very numbers of Pillow.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor

from likewise.imaging.decode import decode, decoded
from likewise.imaging.resize import resized
from likewise.imaging.values import check_unit_range

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

__all__ = ["at_once", "batches", "fit"]

Shape = tuple[int, ...]
LUMA = (19595, 38470, 7471)  # red, green and blue in 1/65536, as Pillow has them; exact in float32
PIXELS = 1 << 22  # of all images that pass a network at once
COLOURS = (1, 3, 4)  # usual numbers of channels, which a side of an image hardly has


@runtime_checkable
class Batched(Protocol):
    """Images that decode themselves, a batch at a time, such as `data.Images`."""

    @property
    def pixels(self) -> object: ...
    def batch(self, indices: Tensor, /) -> Tensor: ...
    def __len__(self) -> int: ...


def at_once(shape: Sequence[int]) -> int:
    """Batch size for images of a shape (C, H, W) where no gradient is needed.

    512, and fewer of the large ones: MobileNetV2 takes 0.9 GiB for 50 at 288 pixels, and 2.7 for 160.
    """
    return max(1, min(512, PIXELS // math.prod(shape[1:])))


def batches(
    images: object, shape: Shape, size: int, *, unit_range: bool = True, mode: str = "stretch"
) -> Iterator[Tensor]:
    """Batches of at most `size` that suit `fit`; images in files are read a batch at a time.

    unit_range: the model was trained on images of 0 to 1, so floats in the range of bytes are a mistake.
    Errors: ValueError for other objects, and for float images outside 0 to 1.
    """
    check = check_unit_range if unit_range and len(shape) == 3 else _unchecked
    for batch in _batches(images, shape, size, check, mode):
        if batch.is_floating_point():
            check(batch)
        yield batch


def _unchecked(images: Tensor) -> None:
    """Numbers of any range."""


def _batches(images: object, shape: Shape, size: int, check: Callable[[Tensor], None], mode: str) -> Iterator[Tensor]:
    if isinstance(images, Batched):
        starts = range(0, len(images), size)
        yield from (images.batch(torch.arange(start, min(start + size, len(images)))) for start in starts)
    elif _is_array(images):
        array = _tensor(images)
        if len(shape) == 3 and shape[0] == 1 and array.ndim == 3 and array.shape[0] == 3:
            raise ValueError(
                f"[{_text(array.shape)}] is three grey images or one in colour, and the model takes grey ones; a "
                "stack of grey images is x[:, None], a single one in colour x[None]"
            )
        yield from _whole(array, shape).split(size)
    else:
        items: list[object] = [images]
        if isinstance(images, Iterable) and not isinstance(images, str | os.PathLike):
            items = list(images)
        for start in range(0, len(items), size):
            yield _joined([_one(item, shape, mode) for item in items[start : start + size]], check)


def fit(images: Tensor, shape: Shape, mode: str = "stretch") -> Tensor:
    """Give a batch `[N, ...]` the channels and sides of `shape`; mode: see sizes.FITS. Errors: ValueError."""
    is_images = len(shape) == 3
    if images.ndim != len(shape) + 1 or (not is_images and images.shape[1:] != shape):
        raise ValueError(f"the model takes [N, {_text(shape)}], got [{_text(images.shape)}]; a single one is x[None]")
    if not is_images:
        return images
    if images.dtype not in (torch.uint8, torch.bool) and not images.is_floating_point():
        raise ValueError(f"images are uint8 (0 to 255) or float (0 to 1), got {str(images.dtype)[6:]}; convert them")
    return _resized(_recoloured(images, shape[0]), (shape[1], shape[2]), mode)


def _recoloured(images: Tensor, channels: int) -> Tensor:
    came = images.shape[1]
    if came == channels:
        return images
    if came == 1:
        return images.expand(-1, channels, -1, -1)
    if (came, channels) != (3, 1):
        raise ValueError(f"images of {came} channels came where the model takes {channels}; only 1 and 3 are converted")
    grey = (images.float() * images.new_tensor(LUMA, dtype=torch.float32).view(3, 1, 1)).sum(1, keepdim=True)
    return (grey + 32768).div(65536).byte() if images.dtype == torch.uint8 else (grey / 65536).to(images.dtype)


def _resized(images: Tensor, sides: tuple[int, int], mode: str) -> Tensor:
    if images.shape[2:] == sides:
        return images
    if images.dtype == torch.uint8 and images.device.type != "cpu":  # only a CPU has a filter for bytes
        return _resized(images.float(), sides, mode).round().byte()
    if images.dtype != torch.uint8:
        images = images.to(torch.promote_types(images.dtype, torch.float32))
    return resized(images, sides, mode)


def _whole(array: Tensor, shape: Shape) -> Tensor:
    """An array as a batch. An image may be [C, H, W], [H, W, C], or [H, W] of the model's size; many: [N, H, W, C]."""
    if len(shape) != 3:
        return array[None] if array.ndim == len(shape) else array
    if array.shape == shape[1:]:
        array = array[None]
    if array.ndim in (3, 4) and array.shape[-1] in COLOURS and array.shape[-3] not in COLOURS:
        array = array.movedim(-1, -3)
    if array.ndim == 3 and array.shape[0] not in (*COLOURS, shape[0]):
        raise ValueError(f"[{_text(array.shape)}] is no image [C, H, W]; a stack of grey images is x[:, None]")
    return array[None] if array.ndim == 3 else array


def _one(item: object, shape: Shape, mode: str) -> Tensor:
    """One image or vector as a batch that has the model's shape."""
    if isinstance(item, str | os.PathLike):
        array = _read(item, shape, mode)
    else:
        array = decoded(item, _sides(shape), mode) if _is_image(item) else _tensor(item)
    return fit(_whole(array, shape), shape, mode)


def _joined(items: list[Tensor], check: Callable[[Tensor], None]) -> Tensor:
    for item in items:
        if item.ndim == 4 and item.is_floating_point():
            check(item)  # before it is mixed with others, whose range hides its own
    if len({item.dtype for item in items}) > 1:
        items = [item.float() / (255 if item.dtype == torch.uint8 else 1) for item in items]
    return torch.cat(items)


def _tensor(array: object) -> Tensor:
    """Any array as a tensor, copied only where torch could not share it."""
    import numpy as np

    try:
        return array if isinstance(array, Tensor) else torch.from_numpy(np.require(array, requirements=["C", "W"]))
    except (TypeError, ValueError) as error:
        kind = type(array).__name__
        raise ValueError(f"no image and no vector: {kind} ({error}); give tensors, arrays, images or paths") from None


def _is_array(value: object) -> bool:
    return isinstance(value, Tensor) or (hasattr(value, "__array__") and not _is_image(value))


def _is_image(value: object) -> "TypeGuard[PillowImage]":
    from PIL import Image

    return isinstance(value, Image.Image)


def _read(path: str | os.PathLike, shape: Shape, mode: str) -> Tensor:
    try:
        return decode(Path(path), _sides(shape), mode=mode)
    except ValueError as error:
        raise ValueError(f"cannot read {os.fspath(path)} as an image: {error}") from None


def _sides(shape: Shape) -> tuple[int, int, int]:
    """Errors: ValueError for the shape of vectors."""
    if len(shape) != 3:
        kind = "vectors" if len(shape) == 1 else "signals"
        comma = "," * (len(shape) == 1)
        raise ValueError(
            f"the model takes {kind} of shape ({_text(shape)}{comma}), not images; give arrays to Embedder.embed"
        )
    return shape[0], shape[1], shape[2]


def _text(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))
