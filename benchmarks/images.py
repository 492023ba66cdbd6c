"""Images in, side by side in one run: ours, the decoder alone, and a DataLoader over Pillow and torchvision v2.

    LIKEWISE_DATA=... python benchmarks/images.py [--about "what else ran on the machine"]

Images 224 x 224 in batches of 64, as normalised floats, 2 threads or 2 workers; the files are in memory. One round
is all ways, one after the other; images/s and processor time (that of all threads and workers) are medians over the
rounds, and the ratios are medians of each round's own, so that a busy machine slows both of their sides. Where others
use the same cores, the ratios of processor time are the ones to read.
  decoder      the decoding alone, in 2 processes that keep nothing: what no first epoch can beat;
  first, bytes finding the files, decoding, holding the pixels, and all batches as uint8: what the decoder gives and
               what our networks take, which standardise by themselves. The cache is empty before it, and is written
               behind: in the processor time it is whole;
  first        the same with normalised floats;
  first, new   as `first, bytes`, in a process just started, to which the machine must give all memory for its pixels;
  next run     the cache is found, the pixels are held, and all batches are read;
  held         a later epoch of it;
  streamed     a later epoch, from the memory map, of a set that may not be held;
  DataLoader   an image at a time: Pillow, stretched, float, normalised; a later epoch, its workers kept.
`photo` and `strong` are our augmentations on batches, held; beside them torchvision's nearest, on Pillow images where
that is quicker. The images are of grocery-store, 348 x 348, evenly spaced; phone is some of them enlarged to
4000 x 3000, JPEG. Here, as in `likewise train`, malloc keeps what was freed; workers and `first, new` begin without.
"""

import argparse
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from likewise.data import cache
from likewise.data.augment import photo, strong
from likewise.data.files import read, together
from likewise.data.images import Images
from likewise.data.options import LoadOptions, cache_home, data_home
from likewise.imaging.decode import decode, decoder
from likewise.malloc import keep_memory
from likewise.training.loop import Feed

SIDE, BATCH, WORKERS = 224, 64, 2
MEAN, STD = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
SPAWN = multiprocessing.get_context("spawn")  # a fork leaves all memory of its parent to be copied on the next touch

Change = Callable[[Any], Any] | None
Way = Callable[[], None]


class Cost(NamedTuple):
    """Of one image, in seconds: by the clock, and of all processors together."""

    wall: float
    cpu: float


def cpu() -> float:
    """Seconds of processor time of this process and of the workers that it has."""
    ticks = 0
    for child in multiprocessing.active_children():
        with suppress(OSError):
            ticks += sum(map(int, Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def timed(way: Way, images: int) -> Cost:
    cache.settle()
    getattr(way, "before", lambda: None)()
    began, spent = time.perf_counter(), cpu()
    way()
    wall = time.perf_counter() - began
    getattr(way, "after", cache.settle)()
    spent = cpu() - spent
    getattr(way, "end", lambda: None)()
    return Cost(wall / images, spent / images)


def alone(paths: Sequence[Path]) -> None:
    torch.set_num_threads(1)
    for path in paths:
        decode(path, (3, SIDE, SIDE))


def decoding(paths: Sequence[Path]) -> Way:
    pool = ProcessPoolExecutor(WORKERS, SPAWN)
    list(pool.map(alone, [paths[:8]] * WORKERS))
    parts = [paths[start::WORKERS] for start in range(WORKERS)]
    return lambda: list(pool.map(alone, parts)) and None


def found(paths: Sequence[Path], memory: int = 1 << 30) -> Any:
    pixels, wrong = read(paths, LoadOptions(size=SIDE, channels=3, memory=memory))
    assert not wrong
    return pixels


class Epoch:
    """An epoch over pixels; its floats lie where those of the last batch lay."""

    def __init__(self, augment: Change = None, as_bytes: bool = False):
        self.augment, self.as_bytes = augment, as_bytes
        self.floats = torch.from_numpy(np.empty((BATCH, 3, SIDE, SIDE), np.float32))

    def __call__(self, pixels: Any) -> None:
        n = len(pixels)
        images = Images(pixels, torch.zeros(n, dtype=torch.int64), ("a",), tuple(map(str, range(n))), torch.zeros(n))
        for batch in Feed(images, None, seed=0).batches(torch.randperm(n).split(BATCH)):
            x = self.augment(batch.images) if self.augment else batch.images
            if not self.as_bytes:
                self.normalised(x)

    def normalised(self, images: Tensor) -> None:
        def some(at: slice) -> None:
            self.floats[at].copy_(images[at]).mul_(1 / (255 * STD)).sub_(MEAN / STD)

        half = -(-len(images) // WORKERS)
        together(some, [slice(start, min(start + half, len(images))) for start in range(0, len(images), half)])


class First:
    """The first epoch, the cache empty before it."""

    def __init__(self, paths: Sequence[Path], epoch: Epoch):
        self.paths, self.epoch = paths, epoch

    def before(self) -> None:
        shutil.rmtree(cache_home(), ignore_errors=True)

    def __call__(self) -> None:
        self.epoch(found(self.paths))


class Fresh:
    """The first epoch of a process that has decoded eight images before."""

    def __init__(self, paths: Sequence[Path]):
        self.paths = paths

    def before(self) -> None:
        shutil.rmtree(cache_home(), ignore_errors=True)
        self.pool = ProcessPoolExecutor(1, SPAWN)
        self.pool.submit(alone, self.paths[:8]).result()

    def __call__(self) -> None:
        self.pool.submit(of_bytes, self.paths).result()

    def after(self) -> None:
        self.pool.submit(cache.settle).result()

    def end(self) -> None:
        self.pool.shutdown()


def of_bytes(paths: Sequence[Path]) -> None:
    torch.set_num_threads(WORKERS)
    Epoch(as_bytes=True)(found(paths))


class ImageFiles(Dataset):
    """Pillow and a transform for each image, as tutorials have it."""

    def __init__(self, paths: Sequence[Path], change: Change):
        self.paths, self.change = paths, change

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, at: int) -> Tensor:
        with Image.open(self.paths[at]) as file:
            image = file.convert("RGB")
        change = self.change or partial(Image.Image.resize, size=(SIDE, SIDE), resample=Image.Resampling.BILINEAR)
        x = change(image)
        if not isinstance(x, Tensor):
            x = torch.from_numpy(np.array(x)).permute(2, 0, 1).contiguous().float().div(255)
        return (x - MEAN) / STD


def loading(paths: Sequence[Path], change: Change = None) -> Way:
    loader = DataLoader(
        ImageFiles(paths, change),
        BATCH,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
        multiprocessing_context=SPAWN,
    )

    def epoch() -> None:
        for _ in loader:
            pass

    epoch()
    return epoch


def torchvision() -> Any:
    """Its transforms v2, or None; a wheel beside a CPU torch lacks two operators, which nothing here calls."""
    with suppress(ImportError, RuntimeError):
        from torchvision.transforms import v2

        return v2
    with suppress(ImportError, RuntimeError):
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torchvision.kept = operators  # type: ignore[attr-defined] # it must live as long as what it defines
        from torchvision.transforms import v2

        return v2
    return None


V2 = torchvision()  # here, so that workers have it before they are sent what is made of it


def crop_mirror_light() -> Change:
    """What our `photo` does, on Pillow images."""
    crop = V2.RandomResizedCrop(SIDE, scale=(0.4, 1.0), antialias=True)
    return V2.Compose([crop, V2.RandomHorizontalFlip(), V2.ColorJitter(0.3, 0.3, 0.3)])


def all_of_it() -> Change:
    """What our `strong` does, on Pillow images as far as that is quicker, then on tensors."""
    turned = V2.RandomRotation(15, interpolation=V2.InterpolationMode.BILINEAR)
    crop = V2.RandomResizedCrop(SIDE, scale=(0.25, 1.0), antialias=True)
    images = [turned, crop, V2.RandomHorizontalFlip(), V2.ColorJitter(0.5, 0.5, 0.5)]
    floats = [V2.PILToTensor(), V2.ToDtype(torch.float32, scale=True)]
    blurred = V2.RandomApply([V2.GaussianBlur(5, (0.1, 1.0))], 0.5)
    return V2.Compose([*images, *floats, blurred, V2.GaussianNoise(sigma=0.025), V2.RandomErasing(0.5, (0.02, 0.2))])


def photographs() -> list[Path]:
    return sorted((data_home() / "grocery-store/dataset/train").rglob("*.jpg"))


def enlarged(folder: Path, paths: Sequence[Path]) -> list[Path]:
    """As large as a phone takes them."""
    for at, path in enumerate(paths):
        with Image.open(path) as image:
            image.resize((4000, 3000), Image.Resampling.BICUBIC).save(folder / f"{at}.jpg", quality=90)
    return sorted(folder.glob("*.jpg"))


def ways_of(paths: Sequence[Path], augmented: bool) -> Iterator[tuple[str, Way]]:
    """The ways, in the order in which each round takes them: what a ratio compares stands close together."""
    plain, ours = Epoch(), {"photo": Epoch(photo()), "strong": Epoch(strong())}
    found(paths)
    held, streamed = found(paths), found(paths, memory=0)
    assert streamed.stored, "fewer than 8 MB of files are not kept; give more --images"

    yield "decoder", decoding(paths)
    yield "first, bytes", First(paths, Epoch(as_bytes=True))
    yield "first", First(paths, plain)
    yield "first, new", Fresh(paths)
    yield "DataLoader", loading(paths)
    yield "next run", lambda: plain(found(paths))
    yield "held", partial(plain, held)
    yield "streamed", partial(plain, streamed)
    if augmented and V2:
        for name, change in (("photo", crop_mirror_light()), ("strong", all_of_it())):
            yield f"held + {name}", partial(ours[name], held)
            yield f"DataLoader + {name}", loading(paths, change)


def measured(paths: Sequence[Path], rounds: int, augmented: bool) -> dict[str, list[Cost]]:
    """The costs of every way in every round."""
    ways = dict(ways_of(paths, augmented))
    seen: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seen[name].append(timed(way, len(paths)))
        print(", ".join(f"{name} {1 / costs[-1].wall:,.0f}" for name, costs in seen.items()), flush=True)
    return seen


def growth(paths: Sequence[Path], epochs: int = 10) -> list[float]:
    """MiB of this process after each of ten streamed epochs."""
    torch.set_num_threads(WORKERS)
    keep_memory()
    pixels, epoch, seen = found(paths, memory=0), Epoch(photo()), []
    for _ in range(epochs):
        epoch(pixels)
        seen.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20)
    return seen


RATIOS = "of the decoder | times the DataLoader"
HEAD = f"| images | way | images/s | {RATIOS} | CPU ms each | {RATIOS} |\n|---|---|{'---:|' * 6}"


def rows(images: str, seen: dict[str, list[Cost]]) -> list[str]:
    said = []
    for way, costs in seen.items():
        rival = seen["DataLoader" + (f" + {way.partition(' + ')[2]}" if " + " in way else "")]
        cells = []
        for kind, shown in (("wall", lambda s: f"{1 / s:,.0f}"), ("cpu", lambda s: f"{s * 1e3:.3f}")):
            mine, limit, theirs = ([getattr(c, kind) for c in some] for some in (costs, seen["decoder"], rival))
            cells += [shown(statistics.median(mine)), f"{ratio(limit, mine):.2f}", f"{ratio(theirs, mine):.1f}"]
        said.append(f"| {images} | {way} | {' | '.join(cells)} |")
    return said


def ratio(those: Sequence[float], these: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(those, these, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--images", type=int, default=880)
    parser.add_argument("--phone", type=int, default=24)
    parser.add_argument("--about", default="")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(WORKERS)
    keep_memory()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LIKEWISE_CACHE"] = f"{folder}/cache"
        every = photographs()
        small = every[:: max(1, len(every) // asked.images)][: asked.images]
        (phone := Path(folder) / "phone").mkdir()
        large = enlarged(phone, small[: asked.phone])
        lines = [HEAD, *rows(f"{len(small):,} of grocery-store", measured(small, asked.rounds, augmented=True))]
        lines += rows(f"{len(large)} phone", measured(large, max(1, asked.rounds // 3), augmented=False))
        with ProcessPoolExecutor(1, SPAWN) as pool:
            seen = pool.submit(growth, small).result()
    lines += ["", f"Memory over ten streamed epochs + photo, MiB: {', '.join(f'{mib:,.0f}' for mib in seen)}."]
    lines += [f"Decoder: {decoder()}. The run took {time.perf_counter() - began:.0f} s."]
    machine.write("images", "\n".join(lines), f"{__doc__}\n{asked.about}")


if __name__ == "__main__":
    main()
