"""Writes people's layouts of data: class folders, tables and arrays, of small images."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog")


def png(path: Path, seed: int = 0, mode: str = "RGB", side: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([seed, *str(path).encode()]).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, format="PNG" if path.suffix not in (".jpg", ".JPG") else "JPEG")
    return path


def class_folders(top: Path, count: int = 10, suffix: str = ".png") -> str:
    for name in CLASSES:
        for i in range(count):
            png(top / name / f"{i:02d}{suffix}")
    return str(top)


def part_folders(top: Path, *names: str) -> str:
    for name in names:
        class_folders(top / name)
    return str(top)


def write_csv(top: Path, header: str, rows: list[str], *, name: str = "t.csv", encoding: str = "utf-8") -> str:
    file = top / name
    file.write_bytes("\n".join([*([header] if header else []), *rows, ""]).encode(encoding))
    return str(file)


def listed(top: Path, row: str = "{path},{label}") -> list[str]:
    class_folders(top / "i")
    return [
        row.format(path=f"i/{c}/{n:02d}.png", label=c, n=n, part="test" if n > 7 else "train")
        for c in CLASSES
        for n in range(10)
    ]


def arrays(top: Path, **changes: object) -> str:
    content: dict[str, object] = {"X": np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)}
    content |= {"y": np.arange(20) % 2} | changes
    np.savez(top / "a.npz", **{k: v for k, v in content.items() if v is not None})
    return str(top / "a.npz")
