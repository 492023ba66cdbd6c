"""Memory and open handles of `likewise serve` over minutes of mixed reads and writes, with restarts: are they flat?

    python benchmarks/soak.py [--minutes 20] [--restarts 4]

Six clients search, identify, list, enroll, move, merge and remove; wrong requests and broken uploads are among
them. Before each reading the undo history is dropped. Resident memory, open handles and threads of the server are read
ten times between restarts. A restart is SIGTERM and the same command again; the clients go on. An error is an answer
that such a request should not get.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx2
import machine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from crash_serve import free_port

from colours import coloured
from live import Live, create

CLIENTS = 6
CLASSES = 12
MOST = 40  # images that a client keeps


class Client:
    """A thread of mixed requests."""

    def __init__(self, url: str, number: int, stop: threading.Event, paused: threading.Event):
        self.url, self.number, self.stop, self.paused = url, number, stop, paused
        self.requests = 0
        self.errors: list[str] = []
        self.own: list[str] = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        rng = random.Random(self.number)
        with httpx2.Client(base_url=self.url, timeout=60) as http:
            while not self.stop.is_set():
                try:
                    self.one(http, rng)
                    self.requests += 1
                except httpx2.TransportError as error:
                    if not self.paused.is_set():
                        self.errors.append(repr(error))
                    time.sleep(0.1)

    def one(self, http: httpx2.Client, rng: random.Random) -> None:
        data = coloured((rng.randrange(20, 235), rng.randrange(20, 235), rng.randrange(20, 235)), rng.randrange(10**6))
        image, label = [("image", ("a.png", data, "image/png"))], f"c{rng.randrange(CLASSES)}"
        key = {"Idempotency-Key": f"{self.number}-{rng.random()}"}
        kind = rng.choices(range(8), (6, 4, 3, 4, 2, 1, 1, 1))[0]
        if len(self.own) > MOST:
            gone, self.own = self.own[:10], self.own[10:]
            answer, right = http.post("/v1/images/remove", json={"ids": gone}, headers=key), {200, 404}
        elif kind == 0:
            answer, right = http.post("/v1/identify", files=image), {200}
        elif kind == 1:
            answer, right = http.post("/v1/search", files=image, data={"k": 10}), {200}
        elif kind == 2:
            call = rng.choice(("images", "classes", "info", "map", "metrics"))
            answer, right = http.get(f"/v1/{call}"), {200}
        elif kind == 3:
            answer, right = http.post("/v1/enroll", files=image, data={"label": label}, headers=key), {200}
            self.own += answer.json().get("added", [])
        elif kind == 4:
            body: dict = {"ids": self.own[:2], "label": label}
            answer, right = http.post("/v1/images/move", json=body, headers=key), {200, 404, 422}
        elif kind == 5:
            body = {"label": label, "into": "c0"}
            answer, right = http.post("/v1/classes/merge", json=body, headers=key), {200, 400, 404}
        elif kind == 6:
            broken = [("image", ("a.png", data[: rng.randrange(1, len(data))], "image/png"))]
            answer, right = http.post("/v1/identify", files=broken), {200, 400, 415}
        else:
            answer, right = http.post("/v1/search", content=data, headers={"content-type": "text/plain"}), {400, 422}
        if answer.status_code not in right and not (self.paused.is_set() and answer.status_code == 503):
            self.errors.append(f"{answer.status_code} {answer.text[:200]}")


def soak(minutes: float, restarts: int) -> tuple[list[str], int, list[str]]:
    """Rows of the table, requests, errors."""
    rows, began = [], time.monotonic()
    stop, paused = threading.Event(), threading.Event()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = (str(create(folder)), "--port", str(free_port()), "--rate", "1000000")
        live = Live(folder, *arguments)
        clients = [Client(live.url, number, stop, paused) for number in range(CLIENTS)]
        try:
            for life in range(restarts + 1):
                for _ in range(10):
                    time.sleep(minutes * 60 / (restarts + 1) / 10)
                    live.client.post("/v1/vacuum")
                    items = live.client.get("/v1/info").json()["items"]
                    done = sum(client.requests for client in clients)
                    rows.append(
                        f"| {life + 1} | {(time.monotonic() - began) / 60:.1f} | {live.status('VmRSS') / 1024:.0f} | "
                        f"{live.handles()} | {live.status('Threads')} | {items} | {done:,} |"
                    )
                    print(rows[-1], flush=True)
                if life < restarts:
                    paused.set()
                    assert live.stop() == 0
                    live.close()
                    live = Live(folder, *arguments)
                    time.sleep(1)
                    paused.clear()
        finally:
            stop.set()
            for client in clients:
                client.thread.join()
            live.close()
    return rows, sum(client.requests for client in clients), [error for c in clients for error in c.errors]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--restarts", type=int, default=4)
    asked = parser.parse_args()
    rows, requests, errors = soak(asked.minutes, asked.restarts)
    head = ["| life | minute | memory, MiB | handles | threads | images | requests |", "|---:" * 7 + "|"]
    told = [f"{requests:,} requests, {len(errors)} errors.", "", *sorted(set(errors))[:10]]
    machine.write("soak", "\n".join([*head, *rows, "", *told]), __doc__)


if __name__ == "__main__":
    main()
