"""Small images for the tests of what reads them: one grey PNG, a folder of them, and six images as tensors."""

import io
from pathlib import Path

import torch
from PIL import Image

from likewise.data.images import Images, Skipped


def png(value: int, height: int = 5, width: int = 4) -> bytes:
    file = io.BytesIO()
    Image.new("L", (width, height), value).save(file, "PNG")
    return file.getvalue()


def tree(top: Path, *paths: str) -> Path:
    """A folder that holds an image at each path, the first black and each a grey brighter."""
    for i, path in enumerate(paths):
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(png(i))
    return top


def six(**changes) -> Images:
    given = {
        "pixels": torch.arange(6, dtype=torch.uint8).reshape(6, 1, 1, 1),
        "labels": torch.tensor([0, 1, 2, 0, 1, 2]),
        "classes": ("a", "b", "c"),
        "ids": tuple("pqrstu"),
        "split": torch.tensor([0, 0, 0, 1, 2, 2], dtype=torch.uint8),
        "groups": tuple("xxyyzz"),
        "skipped": (Skipped("v", "broken"),),
        "name": "six",
    }
    return Images(**given | changes)
