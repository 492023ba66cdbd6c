"""Small trainings, the commands on them and the pages that they write: a part of tools/fingerprint.py."""

import contextlib
import html
import io
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from fingerprint_digests import ALIASES, attempt, digest, numbers_of, scores, sha

SMALL = {"data": "digits", "size": 16, "epochs": 2, "lr": 2e-3, "dim": 16, "amp": "never", "device": "cpu"}
RECIPES: dict[str, dict[str, Any]] = {
    "triplet": {"loss": "triplet(margin=0.2, pick='semihard')"},
    "triplet_euclidean": {"loss": "triplet(margin=0.5)", "sim": "euclidean", "normalize": False},
    "arcface": {"loss": "arcface(margin=0.3, scale=16.0)", "sampler": "shuffled(batch=128)"},
    "cosface": {"loss": "cosface(scale=16.0)", "proxy_lr": 5.0},
    "soft_triple": {"loss": "soft_triple(centres=3)", "schedule": "cosine"},
    "proxy_anchor": {"loss": "proxy_anchor()", "optimizer": "sgd", "clip": 1.0},
    "memory": {"loss": "contrastive(pos_at=0.9, neg_at=0.3)", "memory": 256},
    "miner": {"loss": "multi_similarity()", "miner": "multi_similarity(epsilon=0.1)"},
    "hard_negatives": {"sampler": "hard_negatives(batch=64, images=4)", "loss": "triplet()"},
    "hard_classes": {"sampler": "hard_classes(classes=5, images=8)"},
    "kin": {"sampler": "kin(families=2, classes=3, images=4)"},
    "consecutive": {"sampler": "consecutive(batch=64)", "loss": "contrastive()"},
    "ema": {"ema": 0.9, "schedule": "step(steps=2)"},
    "whiten": {"whiten": 0.5, "epochs": 1},
    "pretrain": {"pretrain_epochs": 1, "epochs": 1, "network": "small_resnet"},
    "plateau": {"schedule": "plateau(factor=0.5, patience=1)", "epochs": 3, "snapshot_epochs": "0,1,2"},
    "accumulate": {"accumulate": 3, "augment": "photo()"},
    "patience": {"patience": 1, "epochs": 4, "lr": 1e-6, "monitor": "map@r"},
    "pairs": {"sampler": "pairs(batch=64)", "loss": "contrastive(margin=1.0)", "sim": "euclidean"},
    "triplets": {"sampler": "triplets(batch=64)", "loss": "triplet(margin=0.2)"},
    "siamese_bce": {
        "loss": "siamese_bce()",
        "sampler": "pairs(batch=64)",
        "network": "koch(width=64)",
        "size": 65,
        "epochs": 1,
    },
    "rows": {"data": "rows.npz", "size": 0, "network": "mlp(widths=(32,))"},
    "turns": {"turns": 4, "augment": "handwriting()", "network": "strokes", "size": 28, "max_per_class": 40},
    "by_class": {"split": "by_class(test=0.4)", "network": "small_resnet", "max_per_class": 60, "frozen_epochs": 1},
    "folder": {"data": "images", "split": "ratio(test=0.3)", "sampler": "pk(classes=4, images=4)"},
    "table": {"data": "images/table.csv", "channels": 1, "sampler": "pk(classes=4, images=4)", "head": "bnneck"},
    "fast_ap": {"loss": "fast_ap()", "sampler": "pk(classes=10, images=8)", "backbone_lr": 0.5, "mirror": True},
    "vae": {"loss": "vae()", "sampler": "shuffled(batch=128)", "epochs": 1},
}


def write_data() -> None:
    """A folder of small images, a table of them, and rows of numbers."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    rows = ["image,label"]
    for c in range(5):
        folder = Path("images") / f"class{c}"
        folder.mkdir(parents=True)
        base = rng.integers(0, 255, (20, 20, 3))
        for i in range(14):
            noisy = np.clip(base + rng.normal(0, 60, base.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / f"{i:02d}.png")
            rows.append(f"class{c}/{i:02d}.png,class{c}")
    Path("images/table.csv").write_text("\n".join(rows) + "\n")
    labels = np.arange(300) % 6
    X = rng.normal(size=(6, 12))[labels] + rng.normal(size=(300, 12))
    np.savez("rows.npz", X=X.astype(np.float32), y=labels)


def recipe_of(changes: dict[str, Any] | None) -> Any:
    import likewise

    if changes is None:
        return likewise.load_recipe("digits").replace(epochs=4, amp="never", device="cpu")
    wanted = SMALL | changes
    for renamed in candidates(wanted):
        with contextlib.suppress(ValueError):
            return likewise.Recipe.from_dict(renamed)
    return likewise.Recipe.from_dict(wanted)


def candidates(wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield wanted
    yield {ALIASES.get(k, (k,))[-1]: ALIASES.get(v, (v,))[-1] if isinstance(v, str) else v for k, v in wanted.items()}


def train(name: str, changes: dict[str, Any] | None, sides: Path) -> dict[str, Any]:
    import likewise

    with contextlib.redirect_stderr(io.StringIO()):
        likewise.train(recipe_of(changes), out="runs", name=name)
    path = Path("runs") / name
    lines = at_epoch_ends(path / "metrics.jsonl")
    run_command("report", os.fspath(path))
    return {
        "weights": weights(path / "model"),
        "embeddings": vectors(path / "embeddings.parquet"),
        "snapshots": [vectors(file) for file in sorted((path / "snapshots").glob("*.parquet"))],
        "loss": [line["loss"] for line in lines if "loss" in line],
        "lr": [line["lr"] for line in lines if "lr" in line],
        "validation": [numbers_of(line["scores"]) for line in lines if "scores" in line],
        "metrics": dict(scores(json.loads((path / "metrics.json").read_text()))),
        "report": page(path / "report.html", sides / f"{name} report.txt"),
    }


def at_epoch_ends(file: Path) -> list[dict[str, Any]]:
    """The lines of a log without those between epochs, of which the clock decides; the file keeps only them as well."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if line.get("kind") != "train" or float(line["epoch"]).is_integer()]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return lines


def run_command(*call: str) -> None:
    """The command line within this process, which has imported torch already."""
    with mock.patch.object(sys, "argv", ["likewise", *call]), contextlib.suppress(SystemExit):
        runpy.run_module("likewise", run_name="__main__")


def weights(folder: Path) -> dict[str, Any]:
    """Hash of all tensors, whatever their names and order, and of each file's sum."""
    from safetensors.torch import load_file

    tensors = [t for file in sorted(folder.rglob("*.safetensors")) for t in load_file(file).values()]
    return {"tensors": len(tensors), "sha256": sha("\n".join(sorted(map(str, map(digest, tensors)))))}


def vectors(file: Path) -> str:
    """Hash of the vectors of a Parquet file: its column of lists."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    for column in table.schema:
        if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
            values = np.concatenate([np.asarray(row, np.float32) for row in table[column.name].to_pylist()])
            return f"{len(table)} rows {sha(values.tobytes())}"
    raise LookupError(f"{file.name} has no column of vectors")


TAGS = re.compile(r"<(script|style|title)\b.*?</\1\s*>|<!--.*?-->", re.S | re.I)
DATA = re.compile(r'<script type="application/json"[^>]*>(.*?)</script', re.S)
NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
PASSING = (
    re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?)?"),  # dates
    re.compile(r"\b[\d.,]+ ?(s|ms|min|h|seconds?|minutes?|hours?|images/s|pictures/s|MB|KB|GB)\b( a second)?"),
    re.compile(r"\b[\d,.]+ (pictures|images) (a|per) second"),
    re.compile(r"(?<!\w)(/[\w.@+-]+){2,}/?"),  # paths
    re.compile(r"\b\d+\.\d+\.\d+\S*"),  # versions
)


RECIPE_LINE = re.compile(r"^\w+ = .* # .*\n", re.M)


def page(file: Path, side: Path) -> dict[str, Any]:
    """Hashes of a page's text and of its numbers; the text itself goes to the side file."""
    whole = file.read_text(encoding="utf-8")
    data = [json.loads(found) for found in DATA.findall(whole)]
    text = html.unescape(re.sub(r"<[^>]*>", "\n", TAGS.sub("\n", whole)))
    return texts(text, side) | {"data": [numbers_of(one) for one in data]}


def texts(text: str, side: Path) -> dict[str, Any]:
    for pattern in PASSING:
        text = pattern.sub("~", text)
    text = "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())
    side.write_text(text + "\n", encoding="utf-8")
    return {"words": sha(text), **numbers_in(text), "text": side.name}


def numbers_in(text: str) -> dict[str, Any]:
    found = NUMBER.findall(text)
    return {"numbers": sha(" ".join(found)), "count": len(found)}


RANKED = ("mrr", "ndcg@10", "map", "cmc@5", "precision@5", "recall@10", "map@r", "r_precision")


def commands(sides: Path) -> dict[str, Any]:
    """What the commands print and write of the run `digits`, and of the run `folder`."""
    found: dict[str, Any] = {}
    run, other = "runs/digits", "runs/folder"
    for name, call in {
        "evaluate": ["evaluate", run, "--json"],
        "audit": ["audit", run],
        "map": ["map", run, "--method", "pca"],
        "doctor": ["doctor", run],
        "rank": ["rank", run, *RANKED, "--json"],
        "predict": ["predict", other, "images/class0", "--json"],
        "verify": ["verify", other, "images/class0/00.png", "images/class1/00.png", "--json"],
        "embed": ["embed", other, "images/class2", "-o", "embedded.parquet"],
        "folds": ["evaluate", run, "--folds", "3", "--json"],
    }.items():  # fmt: skip
        done = subprocess.run([sys.executable, "-m", "likewise", *call], capture_output=True, text=True, check=False)
        found[name] = {"exit code": done.returncode}
        try:
            found[name]["printed"] = dict(scores(json.loads(done.stdout)))
        except ValueError:
            found[name]["printed"] = texts(done.stdout, sides / f"{name} printed.txt")
    for name in ("audit", "map", "report"):
        found[f"{name}.html"] = attempt(lambda n=name: page(Path(run) / f"{n}.html", sides / f"{n}.txt"))
    found["embedding"] = attempt(lambda: vectors(Path("embedded.parquet")))
    return found
