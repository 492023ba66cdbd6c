"""Train, evaluate, enroll and serve, over and over: are memory and open handles flat?

    python benchmarks/soak_all.py [--minutes 120]

One process trains a small recipe on the digits, evaluates it, writes its report, makes a gallery of its model, enrolls
and identifies images in it, and removes all of it again; between these rounds it enrolls, identifies, removes and
searches images over HTTP in a service that runs all the time. After each round the resident memory, open handles and
threads of both processes are read. The last column is the growth from the second fifth of the time to the last one, of
means. The figure shows every reading.
"""

import argparse
import contextlib
import gc
import io
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import httpx2
import machine
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
REQUESTS, IMAGES = 40, 30


class Reading(NamedTuple):
    """Of one process after a round."""

    minute: float
    memory: float  # MiB
    handles: int
    threads: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120)
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    readings, wrong = soak(60 * asked.minutes)
    plot(readings, machine.RESULTS / "soak_all.svg")
    rounds = len(readings["training"])
    rows = ["| process | first round | last round | growth, MiB | growth, handles |", "|---|---|---|---:|---:|"]
    rows += [f"| {name} | {told(found[0])} | {told(found[-1])} | {growth(found)} |" for name, found in readings.items()]
    minutes = readings["training"][-1].minute
    rows += ["", f"{rounds} rounds in {minutes:.0f} minutes, {rounds * REQUESTS:,} requests, {len(wrong)} errors."]
    rows += ["", *sorted(set(wrong))[:10], "![memory and handles over time](soak_all.svg)"]
    machine.write("soak_all", "\n".join(rows), str(__doc__))


def soak(seconds: float) -> tuple[dict[str, list[Reading]], list[str]]:
    """Readings of both processes, and wrong answers."""
    from crash_serve import free_port

    import live as service
    from live import create, running

    service.PATIENCE = 600.0  # a machine may be busy with other work

    found: dict[str, list[Reading]] = {"training": [], "service": []}
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = (str(create(folder)), "--port", str(free_port()), "--rate", "1000000")
        with running(folder, *arguments) as live:
            began, number = time.monotonic(), 0
            while time.monotonic() - began < seconds:
                round_of_training(folder / "round", number)
                wrong += round_of_requests(live.client, number)
                live.client.post("/v1/vacuum")
                gc.collect()
                minute = (time.monotonic() - began) / 60
                for process, pid in (("training", os.getpid()), ("service", live.process.pid)):
                    found[process].append(reading(pid, minute))
                number += 1
                print(number, *(told(readings[-1]) for readings in found.values()), sep=" | ", flush=True)
    return found, wrong


def round_of_training(folder: Path, number: int) -> None:
    from PIL import Image

    from killing import SMALL
    from likewise import Gallery, api
    from likewise.data.digits import digits
    from likewise.data.options import LoadOptions

    with contextlib.redirect_stderr(io.StringIO()):
        run = api.train(SMALL.replace(seed=number), out=folder, name="run")
        api.evaluate(run.path)
    pixels = np.asarray(digits(LoadOptions()).pixels[:IMAGES, 0])
    files = [folder / f"{i}.png" for i in range(IMAGES)]
    for file, image in zip(files, pixels, strict=True):
        Image.fromarray(image).save(file)
    gallery = Gallery.create(folder / "digits.gallery", run.path)
    try:
        gallery.enroll(files, [str(i % 10) for i in range(IMAGES)], gate="off")
        for file in files:
            gallery.identify(file)
    finally:
        gallery.close()
    shutil.rmtree(folder)


def round_of_requests(http: httpx2.Client, number: int) -> list[str]:
    """The wrong answers."""
    from colours import coloured

    rng, wrong, added = random.Random(number), [], []
    for _ in range(REQUESTS):
        data = coloured(tuple(rng.randrange(20, 235) for _ in range(3)), rng.randrange(10**6))
        image = [("image", ("a.png", data, "image/png"))]
        call = rng.choice(("enroll", "identify", "search"))
        form = {"enroll": {"label": f"c{rng.randrange(12)}"}, "search": {"k": "5"}}.get(call, {})
        answer = http.post(f"/v1/{call}", files=image, data=form)
        if answer.status_code != 200:
            wrong.append(f"{call}: {answer.status_code} {answer.text[:120]}")
        elif call == "enroll":
            added += answer.json().get("added", [])
    if added:
        http.post("/v1/images/remove", json={"ids": added})
    return wrong


def reading(pid: int, minute: float) -> Reading:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = {line.partition(":")[0]: line.split()[1] for line in lines if len(line.split()) > 1}
    return Reading(minute, int(values["VmRSS"]) / 1024, len(os.listdir(f"/proc/{pid}/fd")), int(values["Threads"]))


def told(found: Reading) -> str:
    return f"{found.memory:.0f} MiB, {found.handles} handles, {found.threads} threads"


def growth(found: list[Reading]) -> str:
    fifth = max(1, len(found) // 5)
    early, late = np.array(found[fifth : 2 * fifth] or found), np.array(found[-fifth:])
    change = late.mean(0) - early.mean(0)
    return f"{change[1]:+.1f} | {change[2]:+.1f}"


def plot(readings: dict[str, list[Reading]], file: Path) -> None:
    """Memory above, handles below, over minutes."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "likewise"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 1, figsize=(7, 4.5), sharex=True, layout="constrained")
    for name, found in readings.items():
        values = np.array(found)
        for axis, column in zip(axes, (1, 2), strict=True):
            axis.plot(values[:, 0], values[:, column], label=name, linewidth=1)
    axes[0].set(ylabel="resident memory, MiB", ylim=(0, None))
    axes[1].set(ylabel="open handles", xlabel="minutes", ylim=(0, None))
    axes[0].legend(frameon=False)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
