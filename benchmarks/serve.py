r"""identify through `likewise serve` against the bare encoder on the same images.

    LIKEWISE_DATA=... python benchmarks/serve.py --weights mobilenet_v2-b0353104.pth
    LIKEWISE_DATA=... python benchmarks/serve.py --network colours          # a net that costs nothing: the rest alone

The service runs over a gallery of `--enrolled` photographs of groceries (JPEG). Clients are threads of another
process; each keeps its connection and sends one photograph a request, the next when the answer has come. `bare` embeds
the same files with the same model.onnx in batches of 64 in a process of its own, decoding included, while the service
waits: what the machine could do without HTTP, search and answers. All settings take turns, `--rounds` times, so that a
slow minute of the machine hits all; `to bare` compares medians. p50 and p99 are of all requests of all rounds. Clients
and service share the machine's cores. `CPU` is the processor time of an image; `by CPU`, bare's to the service's, says
the same where other programs run. An error is any answer but 200.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from likewise import Gallery
from live import Live, running, write_model

TICK = os.sysconf("SC_CLK_TCK")


class Load(NamedTuple):
    """What some clients saw in one round."""

    rate: float  # requests/s
    seconds: list[float]  # of each request
    errors: list[str]
    service: float  # processor seconds for a request
    clients: float


def make_model(asked: argparse.Namespace, folder: Path) -> Path:
    """model.onnx with its checksum."""
    if asked.network == "colours":
        return write_model(folder, 32)
    import torch

    from likewise.experiment.build import load_images, weights_of
    from likewise.experiment.recipe import Recipe
    from likewise.export.making import BYTES, write_onnx
    from likewise.models import Embedder

    images = load_images(Recipe(data="groceries", size=asked.size, max_per_class=2))
    torch.manual_seed(0)
    model = Embedder(asked.network, shape=images.shape, dim=0, classes=images.classes).eval()
    if asked.weights:
        model.load_weights(weights_of(Recipe(weights=asked.weights)))
    about = {"shape": list(images.shape), "dim": model.dim, "sim": model.sim, "classes": [], "input": BYTES}
    folder.mkdir(exist_ok=True)
    path = folder / "model.onnx"
    write_onnx(model, images, path, about)
    (path.parent / "SHA256SUMS").write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    return path


def photographs(most: int) -> list[Path]:
    paths = sorted((Path(os.environ["LIKEWISE_DATA"]) / "grocery-store" / "dataset" / "train").rglob("*.jpg"))
    return [paths[i] for i in np.linspace(0, len(paths) - 1, min(most, len(paths))).astype(int)]


def child(mode: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).with_name("serve_child.py")), mode, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def load(live: Live, clients: int, seconds: float, paths: list[Path]) -> Load:
    """So many clients for so long."""
    before = cpu(live.process.pid)
    found = child("load", live.port, clients, seconds, *paths)
    service = (cpu(live.process.pid) - before) / max(1, len(found["seconds"]))
    return Load(found["rate"], found["seconds"], found["errors"], service, found["cpu"])


def cpu(pid: int) -> float:
    """Processor seconds of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def enrolled(model: Path, path: Path, paths: list[Path]) -> Path:
    with Gallery.create(path, model, thumbnails=False) as gallery:
        gallery.enroll(paths, [photo.parent.name for photo in paths], gate="off")
    return path


def table(alone: list[dict[str, float]], found: dict[int, list[Load]]) -> str:
    rates, own = [one["rate"] for one in alone], statistics.median(one["cpu"] for one in alone) * 1e3
    bare = statistics.median(rates)
    lines = [
        "| setting | images/s (median) | lowest – highest | to bare | p50, ms | p99, ms | errors / requests "
        "| CPU ms: service + clients | to bare, by CPU |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        f"| bare, batches of 64 | {bare:,.0f} | {min(rates):,.0f} – {max(rates):,.0f} | 1.00 | | | "
        f"| {own:.1f} | 1.00 |",
    ]
    for clients, rounds in found.items():
        each = [one.rate for one in rounds]
        times = np.concatenate([one.seconds for one in rounds])
        p50, p99 = np.quantile(times, [0.5, 0.99]) * 1e3
        errors = sum(len(one.errors) for one in rounds)
        service, client = (
            1e3 * statistics.median(v) for v in ([r.service for r in rounds], [r.clients for r in rounds])
        )
        lines.append(
            f"| {clients} client{'s' * (clients > 1)} | {statistics.median(each):,.0f} | {min(each):,.0f} – "
            f"{max(each):,.0f} | {statistics.median(each) / bare:.2f} | {p50:,.0f} | {p99:,.0f} | "
            f"{errors} / {len(times):,} | {service:.1f} + {client:.1f} | {own / service:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="mobilenet_v2", help="or colours: mean colours at 32 pixels")
    parser.add_argument("--weights", default="")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--enrolled", type=int, default=500)
    parser.add_argument("--clients", default="1,8,64")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=12.0, help="of each setting and round")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(asked.threads)
    alone: list[dict[str, float]] = []
    found: dict[int, list[Load]] = {int(number): [] for number in asked.clients.split(",")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, paths = make_model(asked, folder / "model"), photographs(asked.enrolled + 192)
        gallery = enrolled(model, folder / "groceries.gallery", paths[192:])
        with running(folder, str(gallery), "--port", "0", "--rate", "1000000", threads=asked.threads) as live:
            load(live, 8, 2, paths[:192])  # warmed
            for _ in range(asked.rounds):
                alone.append(child("bare", model, asked.seconds, *paths[:192]))
                for clients, rounds in found.items():
                    rounds.append(load(live, clients, asked.seconds, paths[:192]))
            memory = live.status("VmHWM") / 1024
            assert live.stop() == 0
    size = 32 if asked.network == "colours" else asked.size
    said = (
        f"{asked.network}, {size} x {size}, {asked.threads} threads; {asked.rounds} rounds of {asked.seconds:g} s; "
        f"{asked.enrolled} photographs enrolled; most memory of the service {memory:,.0f} MiB; "
        f"load average of the machine {os.getloadavg()[1]:.0f}, most of it other programs."
    )
    told = sorted({error for rounds in found.values() for one in rounds for error in one.errors})
    machine.write(f"serve_{asked.network}", "\n".join([table(alone, found), "", *told]), f"{said}\n\n{__doc__}")


if __name__ == "__main__":
    main()
