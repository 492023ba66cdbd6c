"""A run that someone else has changed: every field of every file, hostile values, and the traces of code."""

import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import safe_open
from safetensors.torch import save_file

from likewise.experiment.recipe import Recipe, literal

MARKER = "hostile_marker"  # a module whose import, and whose function, leave a trace
DENIED = {MARKER, "pydoc", "antigravity", "this", "pty", "code", "webbrowser", "ftplib", "telnetlib"}
RUNS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "pty.spawn", "os.startfile"}
NET = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname"}
HARMLESS = ("lscpu", "fc-list", "uname", "ffmpeg")  # what libraries ask the system at their first use
EVENTS: list[str] = []
WATCHING = [False]


def hook(event: str, args: tuple) -> None:
    if not WATCHING[0]:
        return
    if event in RUNS | NET:
        said = f"{event} {args!r}"[:300]
        if not any(name in said for name in HARMLESS):
            EVENTS.append(said)


class Finder:
    """Asked for every module that is not loaded yet."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        if WATCHING[0] and name.partition(".")[0] in DENIED:
            EVENTS.append(f"import {name}")


sys.addaudithook(hook)
sys.meta_path.insert(0, Finder)  # type: ignore[arg-type]


@contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """What happens inside that must not: commands, connections, imports, and the file that hostile code would write."""
    trace = folder / "TRACE"
    for name in [n for n in sys.modules if n.partition(".")[0] in DENIED]:
        del sys.modules[name]
    EVENTS.clear()
    found: list[str] = []
    WATCHING[0] = True
    try:
        yield found
    finally:
        WATCHING[0] = False
        found += EVENTS
        if trace.exists():
            found.append(f"{trace} was written")
            trace.unlink()


def marker(folder: Path) -> None:
    """The module on the path whose import and call leave the trace."""
    text = (
        f"open({str(folder / 'TRACE')!r}, 'w').close()\ndef touch(*a, **k):\n    open({str(folder / 'TRACE')!r}, 'w')\n"
    )
    (folder / f"{MARKER}.py").write_text(text, encoding="utf-8")


def values(folder: Path) -> list[Any]:
    """What a field is set to: names of code, paths, escapes, and values of every other type and size."""
    t = folder / "TRACE"
    deep: Any = []
    for _ in range(50):
        deep = [deep]
    return [
        "pydoc:pipepager",
        f"subprocess:run(args='touch {t}', shell=True)",
        f"os:system(command='touch {t}')",
        f"{MARKER}:touch",
        f"{MARKER}:touch(path='{t}')",
        f"likewise.data.cache:throw_away(folder='{folder}')",
        f"__import__('os').system('touch {t}')",
        f"sum(losses=['{MARKER}:touch', 'softmax'])",
        f"matryoshka(loss='sum(losses=[\\'{MARKER}:touch\\'])', dims=[2])",
        f"chain(steps=['{MARKER}:touch'])",
        "hf:someone/else",
        "timm:hf-hub:someone/else",
        f"pml:{MARKER}",
        f"mlp(widths=({2**40}, {2**40}))",
        f"$(touch {t})",
        f"; touch {t}",
        "../../../../../../etc/passwd",
        "\x1b]0;title\x07\x1b[2J",
        "<script>alert(1)</script>",
        "A" * 20_000,
        10**30,
        10**9,
        -1,
        0.5,
        math.nan,
        True,
        None,
        [],
        [f"touch {t}"],
        {},
        {"module": MARKER, "value": 1e999},
        deep,
    ]


Change = Callable[[Path, Any], None]


def in_json(name: str, *path: str) -> Change:
    """Sets a field of a JSON file of the run."""

    def change(run: Path, value: Any) -> None:
        file = run / name
        content = json.loads(file.read_text(encoding="utf-8"))
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        file.write_text(json.dumps(content), encoding="utf-8")

    return change


def in_recipe(field: str) -> Change:
    def change(run: Path, value: Any) -> None:
        lines = [x for x in (run / "recipe.toml").read_text(encoding="utf-8").splitlines() if x.split(" ")[0] != field]
        if value is not None and not isinstance(value, dict) and not (isinstance(value, float) and math.isnan(value)):
            lines.append(f"{field} = {literal(value)}")
        (run / "recipe.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")

    return change


def in_log(field: str) -> Change:
    def change(run: Path, value: Any) -> None:
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        text = "".join(json.dumps(line | {field: value}) + "\n" for line in lines)
        (run / "metrics.jsonl").write_text(text, encoding="utf-8")

    return change


def in_header(name: str, *path: str) -> Change:
    """Sets a field of the JSON in the header of a .safetensors file."""

    def change(run: Path, value: Any) -> None:
        with safe_open(run / name, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            content = json.loads(file.metadata()["likewise"])
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        save_file(tensors, run / name, {"likewise": json.dumps(content)})
        if name.startswith("model/"):  # the description beside it then belongs to other tensors
            described = json.loads((run / "model/model.json").read_text(encoding="utf-8"))
            (run / "model/model.json").write_text(json.dumps(described | {"crc32": 1}), encoding="utf-8")

    return change


def in_parquet(name: str, column: str) -> Change:
    """Sets the first row of a column, or the metadata."""

    def change(run: Path, value: Any) -> None:
        table = pq.read_table(run / name)
        if column == "metadata":
            table = table.replace_schema_metadata({"likewise": json.dumps(value)})
        elif column == "classes":
            table = table.replace_schema_metadata({"likewise": json.dumps({"classes": value})})
        else:
            rows = [str(x) if isinstance(value, str) else x for x in table[column].to_pylist()]
            rows[0] = value
            try:
                made = pa.array(rows)
            except (pa.ArrowException, OverflowError, TypeError):
                made = pa.array([str(value)] * len(rows))
            table = table.set_column(table.column_names.index(column), column, made)
        pq.write_table(table, run / name)

    return change


def fields(run: Path) -> dict[str, tuple[Change, tuple[str, ...]]]:
    """Every field: how it is set, and the commands that read its file."""
    model, metrics = (json.loads((run / p).read_text(encoding="utf-8")) for p in ("model/model.json", "metrics.json"))
    log = {k for x in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines() for k in json.loads(x)}
    uses_model = ("predict", "verify", "embed", "evaluate", "pairs", "weights", "export")
    uses_scores = ("report", "evaluate", "rank", "doctor", "encodings", "export", "map", "animate")
    found: dict[str, tuple[Change, tuple[str, ...]]] = {}
    for key in model:
        found[f"model.json {key}"] = in_json("model/model.json", key), uses_model
    for key in {**model["config"], "architecture": 0, "whitened": 0, "extra": 0}:
        found[f"model.json config {key}"] = in_json("model/model.json", "config", key), uses_model
    for key in {**model["info"], "extra": 0}:
        found[f"model.json info {key}"] = in_json("model/model.json", "info", key), uses_model
    found["model.json threshold value"] = in_json("model/model.json", "info", "threshold", "value"), uses_model
    for key in model["config"]:
        found[f"model header {key}"] = in_header("model/model.safetensors", "config", key), uses_model
    commands = (*uses_scores, "predict", "audit", "pairs", "train", "resume", "compare")
    for key in (*Recipe().to_dict(), "unknown"):
        found[f"recipe {key}"] = in_recipe(key), commands
    for key in {**metrics, "unknown": 0}:
        found[f"metrics {key}"] = in_json("metrics.json", key), uses_scores
    for key in {**metrics["scores"], "unknown": 0}:
        found[f"metrics score {key}"] = in_json("metrics.json", "scores", key), uses_scores
    for key in sorted({*log, "unknown"}):
        found[f"log {key}"] = in_log(key), ("report", "doctor", "resume")
    with safe_open(run / "checkpoints/last.safetensors", "pt") as file:
        header = json.loads(file.metadata()["likewise"])
    for key in {**header, "unknown": 0}:
        found[f"checkpoint {key}"] = in_header("checkpoints/last.safetensors", key), ("resume",)
    for key in header["parts"]:
        found[f"checkpoint part {key}"] = in_header("checkpoints/last.safetensors", "parts", key), ("resume",)
    for column in ("id", "label", "class", "split", "vector", "metadata", "classes"):
        found[f"embeddings {column}"] = in_parquet("embeddings.parquet", column), (*uses_scores, "predict", "audit")
    for column in ("id_a", "id_b", "same", "split"):
        found[f"pairs {column}"] = in_parquet("pairs.parquet", column), ("report", "evaluate", "pairs")
    return found


def command(name: str, run: Path, image: Path) -> list[str]:
    """The words of a command on the run."""
    a, b = str(run), str(image)
    return {
        "predict": ["predict", a, b],
        "verify": ["verify", a, b, b],
        "embed": ["embed", a, b, "-o", str(run / "out.parquet")],
        "evaluate": ["evaluate", a],
        "pairs": ["evaluate", a, "--pairs", str(run / "pairs.parquet")],
        "encodings": ["evaluate", a, "--encodings", str(run / "embeddings.parquet")],
        "weights": ["train", "digits", f"weights={a}", "epochs=1", "--out", str(run / "again")],
        "train": ["train", str(run / "recipe.toml"), "epochs=1", "--out", str(run / "again")],
        "resume": ["train", "--resume", a],
        "compare": ["compare", str(run / "recipe.toml"), "epochs=1", "--out", str(run / "compared")],
        "export": ["export", a, "--to", "onnx"],
        "report": ["report", a],
        "rank": ["rank", a],
        "doctor": ["doctor", a],
        "audit": ["audit", a],
        "map": ["map", a, "--method", "pca"],
        "animate": ["animate", a],
    }[name]


def fresh(run: Path, folder: Path) -> Path:
    """A copy of the run to be changed."""
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(run, folder))
