"""Mutated files and the readers that take them: a reader gives a value, or a ValueError of ours with one sentence."""

import gzip
import io
import json
import random
import resource
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from colours import Colours, coloured, make
from likewise import Gallery, spec
from likewise.data.arrays import arrays
from likewise.data.idx import mnist
from likewise.data.options import LoadOptions
from likewise.data.table import table
from likewise.data.tracking import read_sequence
from likewise.embeddings import Embeddings
from likewise.evaluate import pair_files
from likewise.experiment.build import build, resolve_defaults
from likewise.experiment.checkpoint import load_checkpoint, save_checkpoint
from likewise.experiment.recipe import Recipe
from likewise.experiment.run_files import checked_metrics, records
from likewise.export.reading import pixels
from likewise.gallery.stores import open_store
from likewise.imaging.decode import check, decode, head
from likewise.models import Embedder
from likewise.reproduce.translate import translate

SECONDS = 5.0  # an input that takes longer counts as a hang
FORMATS = {
    "png": "PNG",
    "png16": "PNG",
    "pngp": "PNG",
    "pnga": "PNG",
    "jpg": "JPEG",
    "gif": "GIF",
    "bmp": "BMP",
    "tif": "TIFF",
    "tiflzw": "TIFF",
    "webp": "WEBP",
    "ppm": "PPM",
    "pgm": "PPM",
    "pbm": "PPM",
}
TOKENS = [b"0", b"-1", b"99999999999", b"1e999", b"nan", b"null", b"true", b"[]", b"{}", b'"', b"'", b"(", b")", b","]
TOKENS += [
    b"\x00",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80",
    b"\n",
    b"\t",
    b"=",
    b":",
    b"os:system",
    b"[" * 300,
]


@dataclass
class Result:
    """What a target did with its inputs. wrong: a few failures; slowest in seconds, grown in bytes of memory."""

    inputs: int = 0
    read: int = 0
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0
    grown: int = 0
    kinds: Counter = field(default_factory=Counter)


@dataclass(frozen=True)
class Target:
    """Seeds to mutate, and what reads a mutated file."""

    seeds: tuple[bytes, ...]
    read: Callable[[Path], Any]
    name: str  # of the file
    folder: Path


def mutated(seed: bytes, rng: random.Random) -> bytes:
    """One to four changes: bits, bytes, slices, tokens, numbers, an early end."""
    data = bytearray(seed)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        at = rng.randrange(len(data) + 1) if rng.random() < 0.6 else rng.randrange(min(64, len(data)) + 1)
        how = rng.randrange(8)
        if how == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif how == 1 and at < len(data):
            data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif how == 2:
            data[at:at] = rng.choice(TOKENS)
        elif how == 3:
            del data[at : at + rng.choice((1, 2, 4, 16, 200))]
        elif how == 4:
            data[at:at] = data[at : at + rng.choice((1, 8, 64, 400))]
        elif how == 5:
            token = rng.choice(TOKENS)
            data[at : at + len(token)] = token
        elif how == 6:
            size = rng.choice((2, 4, 8))
            data[at : at + size] = rng.choice((0, 1, 2**31 - 1, 2**31, 10**6, 2**63)).to_bytes(8, "little")[:size]
        else:
            del data[at:]
    return bytes(data)


def fuzz(target: Target, count: int, seed: int = 0) -> Result:
    """Read so many mutated files."""
    rng, result, path = random.Random(seed), Result(), target.folder / target.name
    path.parent.mkdir(parents=True, exist_ok=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(count):
        content = mutated(rng.choice(target.seeds), rng)
        path.write_bytes(content)
        began = time.perf_counter()
        problem = tried(target, path, result)
        result.slowest = max(result.slowest, time.perf_counter() - began)
        if time.perf_counter() - began > SECONDS:
            problem = f"took {time.perf_counter() - began:.1f} s"
        result.inputs += 1
        if problem:
            result.kinds[problem[:60]] += 1
            if len(result.wrong) < 5:
                result.wrong.append(f"{problem} for {content[:120]!r}")
    result.grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    return result


def tried(target: Target, path: Path, result: Result) -> str:
    """What is wrong with how a file was taken; empty where nothing is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.read(path)
        result.read += 1
    except ValueError as error:
        ours = type(error) is ValueError or type(error).__module__.startswith("likewise")
        return "" if ours and str(error).strip() else f"{type(error).__name__}: {str(error)[:100]}"
    except ModuleNotFoundError as error:  # a network of an extra that is not installed
        return "" if "pip install" in str(error) else repr(error)
    except BaseException as error:
        place = error.__traceback__
        while place and place.tb_next:
            place = place.tb_next
        where = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place else ""
        return f"{type(error).__name__} in {where}: {str(error)[:100]}"
    return ""


# --- the targets -----------------------------------------------------------------------------------------------------


def targets(folder: Path) -> dict[str, Target]:
    """Every format by name; `folder` gets the seeds and the mutated files."""
    made: dict[str, Target] = {}

    def add(name: str, file: str, read: Callable[[Path], Any], *seeds: bytes) -> None:
        made[name] = Target(seeds, read, file, folder / name.replace(" ", "_"))

    recipe = Recipe(loss="sum(losses=['triplet(margin=0.2)', 'softmax'])", network="mlp(widths=(8, 8))", dim=4)
    add("recipe toml", "r.toml", Recipe.load, recipe.to_toml().encode(), Recipe(augment="photo").to_toml().encode())
    add("recipe json", "r.json", Recipe.load, recipe.to_json().encode())
    specs = [b"triplet(margin=0.1, pick='semihard')", b"sum(losses=['softmax', 'supcon'], weights=[1, 0.5])"]
    specs += [b"mlp(widths=(64, 64), activation='relu')", b"timm:resnet18(pooling='gem')", b"pk(classes=10, images=4)"]
    add("spec", "spec", read_spec, *specs)
    add_tables(add, folder)
    add_binaries(add, folder)
    add_run(add, folder, recipe)
    add_gallery(add, folder)
    add_images(add)
    return made


def read_spec(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    for kind in ("loss", "network", "sampler", "data"):
        try:
            spec.from_file(kind, text, "a file")
        except spec.SpecError as error:
            last = error
        else:
            return
    raise last


def add_tables(add: Callable, folder: Path) -> None:
    row = b"1,10,10,20,20,0\n2,11,10,20,20,0\n3,12,11,20,20,1\n"
    add(
        "ground truth", "groundtruth_rect.txt", read_truth, row, b"10,10,20,20\n11\t10\t20\t20\n", b"1;2;3;4\n5 6 7 8\n"
    )
    text = b'image,label,split\na.png,cat,train\nb.png,dog,train\n"c, d.png",cat,test\n'
    add("csv table", "t.csv", lambda path: table(options(path), path=str(path)), text)
    for name in ("a.png", "b.png", "c, d.png"):
        (folder / "csv_table").mkdir(exist_ok=True)
        Image.new("L", (4, 4), len(name)).save(folder / "csv_table" / name)
    pairs = b"id_a,id_b,same,fold,split\na.png,b.png,1,0,test\na.png,c.png,0,1,val\n"
    add("pairs csv", "p.csv", pair_files.read, pairs, b"a b,c d,1\nx,y,0\n")
    lfw = b"2\t1\nann\t1\t2\nann\t1\tbob\t2\nbob\t1\t2\nann\t1\tbob\t1\n"
    add("pairs lfw", "pairs.txt", pair_files.read, lfw, b"1\nann 1 2\nann 1 bob 2\n")
    yaml = b"mode: triplet\nproject_name: x\nbackbone_name: simple\ninput_shape: [48, 48, 3]\nencodings_len: 16\n"
    alias = b"a: &a [1, 2]\nb: &b [*a, *a]\nc: {<<: {d: 1}, e: *b}\nmode: siamese\n"
    add("yaml", "c.yml", lambda path: translate(path.read_bytes().decode("utf-8", "replace")), yaml, alias)


def options(path: Path) -> LoadOptions:
    return LoadOptions(root=path.parent, say=lambda sentence: None)


def read_truth(path: Path) -> None:
    (path.parent / "img").mkdir(exist_ok=True)
    for n in (1, 2, 3):
        (path.parent / "img" / f"{n:04d}.jpg").touch()
    read_sequence(path.parent)


def add_binaries(add: Callable, folder: Path) -> None:
    add("npz", "a.npz", lambda path: arrays(options(path), path=str(path)), npz(), npz(compressed=True))
    digits = b"\0\0\x08\3" + (3).to_bytes(4, "big") + (4).to_bytes(4, "big") * 2 + bytes(range(48))
    add("idx plain", "i.gz", lambda path: read_idx(path, path.read_bytes()), digits)
    add("idx gzip", "g.gz", lambda path: read_idx(path, None), gzip.compress(digits, mtime=0))
    embeddings = Embeddings(
        torch.randn(6, 4), torch.tensor([0, 0, 1, 1, 2, 2]), tuple("abcdef"), torch.zeros(6).byte(), ("x", "y", "z")
    )
    file = folder / "seed.parquet"
    embeddings.save(file)
    add("parquet embeddings", "e.parquet", Embeddings.load, file.read_bytes())
    columns = {"id_a": ["a", "b"], "id_b": ["c", "d"], "same": [True, False], "fold": [0, 1], "split": ["test"] * 2}
    pq.write_table(pa.table(columns), file)
    add("parquet pairs", "p.parquet", pair_files.read, file.read_bytes())


def npz(*, compressed: bool = False) -> bytes:
    file = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(file, X=np.zeros((4, 5, 5), np.uint8), y=np.array([0, 0, 1, 1]), split=np.array(["train"] * 3 + ["test"]))
    return file.getvalue()


def read_idx(path: Path, plain: bytes | None) -> None:
    """Both parts as published; the images of the first are mutated."""
    root = path.parent / "root"
    (root / "mnist").mkdir(parents=True, exist_ok=True)
    labels = gzip.compress(b"\0\0\x08\1" + (3).to_bytes(4, "big") + bytes(3), mtime=0)
    images = gzip.compress(b"\0\0\x08\3" + (3).to_bytes(4, "big") + (4).to_bytes(4, "big") * 2 + bytes(48), mtime=0)
    for part in ("train", "t10k"):
        (root / "mnist" / f"{part}-labels-idx1-ubyte.gz").write_bytes(labels)
        (root / "mnist" / f"{part}-images-idx3-ubyte.gz").write_bytes(images)
    content = path.read_bytes() if plain is None else gzip.compress(plain, 1, mtime=0)
    (root / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(content)
    mnist(LoadOptions(root=root))


def add_run(add: Callable, folder: Path, recipe: Recipe) -> None:
    """Model folder, checkpoint, scores and log."""
    model = Embedder("mlp(widths=(8,))", shape=(6,), dim=4, classes=("a", "b"))
    model.info = {"threshold": {"value": 0.5, "target": "accuracy"}, "calibration": {"kind": "platt", "slope": 1.0}}
    for name in ("model.json", "model.safetensors"):
        model.save(folder / f"model_{name}")
    described, tensors = (folder / "model_model.json" / n for n in ("model.json", "model.safetensors"))
    add("model.json", "model.json", beside(folder / "model_model.json"), described.read_bytes())
    add("model.safetensors", "model.safetensors", beside(folder / "model_model.safetensors"), tensors.read_bytes())
    metrics: dict[str, Any] = {"run": "r", "split": "test", "open": False, "data": {"name": "d", "classes": 2}}
    metrics |= {"scores": {"knn@1": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}}, "seconds": 1.0}
    add("metrics.json", "metrics.json", checked_metrics, json.dumps(metrics, indent=1).encode())
    line = {"kind": "train", "step": 1, "epoch": 0.1, "loss": 0.5, "images_per_s": 3.0}
    log = "".join(json.dumps(line | {"step": n}) + "\n" for n in range(3)).encode()
    add("metrics.jsonl", "metrics.jsonl", lambda path: list(records(path)), log)
    images = arrays_of(folder)
    parts = build(resolve_defaults(recipe.replace(data=str(images))), load(images))
    save_checkpoint(folder / "c.safetensors", parts.state)
    content = (folder / "c.safetensors").read_bytes()
    add("checkpoint", "c.safetensors", lambda path: load_checkpoint(path, parts.state), content)


def add_gallery(add: Callable, folder: Path) -> None:
    """A gallery's file, with items and thumbnails: listed, searched and checked."""
    files = [folder / f"colour{i}.png" for i in range(6)]
    for i, file in enumerate(files):
        file.write_bytes(coloured((30 * i, 200 - 30 * i, 90), i))
    with make(folder / "seed.gallery") as gallery:
        gallery.enroll(files, ["a", "b", "c"] * 2, metadata=[{"n": i} for i in range(6)], gate="off")
    add("gallery", "g.gallery", read_gallery, (folder / "seed.gallery").read_bytes())


def read_gallery(path: Path) -> None:
    for beside in path.parent.glob(f"{path.name}-*"):
        beside.unlink()
    with Gallery(open_store(path), Colours()) as gallery:
        list(gallery.items())
        gallery.search(np.array([200, 20, 90], np.float32))
        gallery.check()


def arrays_of(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(folder / "rows.npz", X=rng.normal(size=(12, 6)).astype(np.float32), y=np.arange(12) % 3)
    return folder / "rows.npz"


def load(path: Path) -> Any:
    from likewise.data import load as load_data

    return load_data(str(path))


def beside(good: Path) -> Callable[[Path], Any]:
    """Reads a model of which the mutated file replaces one."""

    def read(path: Path) -> None:
        (good / path.name).write_bytes(path.read_bytes())
        Embedder.load(good)

    return read


def add_images(add: Callable) -> None:
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (24, 20, 3), dtype=np.uint8))
    grey = colour.convert("L")
    forms = {"png16": Image.fromarray(rng.integers(0, 65536, (12, 10)).astype(np.uint16)), "pngp": colour.quantize(16)}
    forms |= {"pnga": colour.convert("RGBA"), "pgm": grey, "pbm": grey.convert("1"), "gif": colour.quantize(32)}
    for name, kind in FORMATS.items():
        file = io.BytesIO()
        forms.get(name, colour).save(file, kind, **({"compression": "tiff_lzw"} if name == "tiflzw" else {}))
        ending = name[:3] if name != "webp" else name
        add(f"image {name}", f"i.{ending}", read_image, file.getvalue())


def read_image(path: Path) -> None:
    """Every way in which an image is read; the first error is the result."""
    head(path)
    check(path)
    decode(path, (3, 16, 16))
    decode(path.read_bytes(), (1, 8, 8))
    pixels(path, (3, 16, 16))
