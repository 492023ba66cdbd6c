"""Pictures in, side by side in one run: ours, the decoder alone, and a DataLoader over Pillow.

    LIKEWISE_DATA=... python benchmarks/images.py [--about "what else ran on the machine"]

Images/s of pictures 224 x 224 in batches of 64, as normalised floats, 2 threads or 2 workers; the files are in memory,
the cache is empty before each first epoch. The rounds alternate; figures are medians.
  decoder      the decoding alone, in 2 processes that keep nothing: what no first epoch can beat;
  first        listing, decoding, writing the cache, and all batches;
  cached       an epoch of another run: the cache is found, and all batches are read; held in memory, or streamed;
  DataLoader   Pillow, stretched, float, normalised, a picture at a time; its second epoch, its workers kept.
`+ photo` is with augmentation: ours in batches, torchvision v2 in the workers (crop, mirror, light).
The pictures are of grocery-store, 348 x 348, evenly spaced; phone is some of them enlarged to 4000 x 3000, JPEG.
"""

import argparse
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from likewise.data.augment import photo
from likewise.data.files import read
from likewise.data.images import Images
from likewise.data.want import Want, data_home
from likewise.decode import decode
from likewise.training import Feed

SIDE, BATCH, WORKERS = 224, 64, 2
MEAN, STD = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

Change = Callable[[Tensor], Tensor] | None


def alone(paths: Sequence[Path]) -> None:
    torch.set_num_threads(1)
    for path in paths:
        decode(path, (3, SIDE, SIDE))


def decoder(paths: Sequence[Path]) -> float:
    """Seconds of the decoding in two processes, their start not counted."""
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        pool.map(alone, [paths[:2]] * WORKERS, 1)
        began = time.perf_counter()
        pool.map(alone, [paths[start::WORKERS] for start in range(WORKERS)], 1)
        return time.perf_counter() - began


def ours(paths: Sequence[Path], *, memory: int = 1 << 30, augment: Change = None) -> float:
    """Seconds of finding the pictures, decoded or not, and of an epoch over them."""
    began = time.perf_counter()
    pixels, wrong = read(paths, Want(size=SIDE, channels=3, memory=memory))
    assert not wrong
    epoch(pixels, augment)
    return time.perf_counter() - began


def epoch(pixels: Any, augment: Change) -> None:
    n = len(pixels)
    images = Images(pixels, torch.zeros(n, dtype=torch.int64), ("a",), tuple(map(str, range(n))), torch.zeros(n))
    for batch in Feed(images, None, seed=0).batches(torch.randperm(n).split(BATCH)):
        x = augment(batch.images) if augment else batch.images
        (x.float().div_(255) - MEAN).div_(STD)


class Pictures(Dataset):
    """Pillow and a transform for each picture, as tutorials have it."""

    def __init__(self, paths: Sequence[Path], change: Change):
        self.paths, self.change = paths, change

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, at: int) -> Tensor:
        with Image.open(self.paths[at]) as file:
            picture = file.convert("RGB")
        change = self.change or partial(Image.Image.resize, size=(SIDE, SIDE), resample=Image.Resampling.BILINEAR)
        picture = change(picture)
        x = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float().div(255)
        return (x - MEAN) / STD


def common(paths: Sequence[Path], change: Change = None) -> float:
    loader = DataLoader(Pictures(paths, change), BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    for _ in loader:
        pass
    began = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - began


def crop_mirror_light() -> Change:
    """What our `photo` does, by torchvision on Pillow pictures; None where torchvision does not import."""
    operators = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):  # the wheel wants them, and a CPU torch lacks them
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    try:
        from torchvision.transforms import v2
    except (ImportError, RuntimeError):
        return None
    crop_mirror_light.kept = operators  # type: ignore[attr-defined] # it must live as long as what it defines
    crop = v2.RandomResizedCrop(SIDE, scale=(0.4, 1.0), antialias=True)
    return v2.Compose([crop, v2.RandomHorizontalFlip(), v2.ColorJitter(0.3, 0.3, 0.3)])


def photographs() -> list[Path]:
    return sorted((data_home() / "grocery-store/dataset/train").rglob("*.jpg"))


def enlarged(folder: Path, paths: Sequence[Path]) -> list[Path]:
    """As large as a phone takes them."""
    for at, path in enumerate(paths):
        with Image.open(path) as picture:
            picture.resize((4000, 3000), Image.Resampling.BICUBIC).save(folder / f"{at}.jpg", quality=90)
    return sorted(folder.glob("*.jpg"))


def measured(paths: Sequence[Path], rounds: int, change: Change) -> dict[str, float]:
    """Images/s of every way: the median of the rounds."""
    cache = Path(os.environ["LIKEWISE_CACHE"])
    bright = photo()
    ways: dict[str, Callable[[], float]] = {"decoder": partial(decoder, paths), "DataLoader": partial(common, paths)}
    ways |= {"first": partial(ours, paths), "cached, held": partial(ours, paths)}
    ways |= {"cached, streamed": partial(ours, paths, memory=0)}
    ways |= {"cached + photo": partial(ours, paths, augment=bright)}
    if change:
        ways["DataLoader + photo"] = partial(common, paths, change)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            if name == "first":
                shutil.rmtree(cache, ignore_errors=True)
            found[name].append(len(paths) / way())
            print(name, f"{found[name][-1]:,.0f}", flush=True)
    return {name: statistics.median(speeds) for name, speeds in found.items()}


def growth(paths: Sequence[Path], epochs: int = 10) -> list[float]:
    """MiB of this process after each of ten streamed epochs."""
    pixels, _ = read(paths, Want(size=SIDE, channels=3, memory=0))
    seen = []
    for _ in range(epochs):
        epoch(pixels, None)
        seen.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20)
    return seen


def rows(name: str, speed: dict[str, float]) -> list[str]:
    said = []
    for way, images in speed.items():
        rival = speed.get("DataLoader + photo" if "photo" in way else "DataLoader", float("nan"))
        said.append(f"| {name} | {way} | {images:,.0f} | {images / speed['decoder']:.2f} | {images / rival:.1f} |")
    return said


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=2640)
    parser.add_argument("--phone", type=int, default=64)
    parser.add_argument("--about", default="")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(WORKERS)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LIKEWISE_CACHE"] = f"{folder}/cache"
        change = crop_mirror_light()
        every = photographs()
        small = every[:: max(1, len(every) // asked.pictures)][: asked.pictures]
        (phone := Path(folder) / "phone").mkdir()
        large = enlarged(phone, small[: asked.phone])
        lines = ["| pictures | way | images/s | of the decoder | times the DataLoader |", "|---|---|---:|---:|---:|"]
        lines += rows(f"{len(small):,} of grocery-store", measured(small, asked.rounds, change))
        lines += rows(f"{len(large)} phone", measured(large, asked.rounds, change))
        seen = growth(small)
    lines += ["", f"Memory over ten streamed epochs, MiB: {', '.join(f'{mib:,.0f}' for mib in seen)}."]
    machine.write("images", "\n".join(lines), f"{__doc__}\n{asked.about}")


if __name__ == "__main__":
    main()
