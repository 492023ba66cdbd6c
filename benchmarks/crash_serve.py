"""kill -9 of `likewise serve` at random moments under load: acknowledged writes are there, repeated ones are done once.

    python benchmarks/crash_serve.py [--kills 50] [--seed 0]

Clients enroll images, move them to other classes and remove them, each write under an idempotency key that is sent
again until it is answered. The server is killed after a random time and started again at the same port. After every
kill all that was acknowledged before has to be there; at the end, when every client has its answers, the gallery has to
hold exactly the images that the clients know of, each once and in its class.
"""

import argparse
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import machine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from colours import coloured
from likewise import Gallery
from live import Live, create

CLIENTS = 4


class Client:
    """A thread that writes until it is told to stop, and finishes what it began."""

    def __init__(self, url: str, number: int, stop: threading.Event):
        self.url, self.number, self.stop = url, number, stop
        self.label: dict[str, str] = {}  # of the acknowledged images that are there
        self.doubtful: set[str] = set()  # about to be removed, or moved
        self.answers = self.repeated = self.replayed = 0
        self.error = ""
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        try:
            with httpx2.Client(base_url=self.url, timeout=20) as http:
                self.write(http)
        except Exception as error:  # told by the main thread
            self.error = repr(error)

    def write(self, http: httpx2.Client) -> None:
        rng, count = random.Random(self.number), 0
        while not self.stop.is_set():
            count += 1
            data = coloured((rng.randrange(20, 235), rng.randrange(20, 235), rng.randrange(20, 235)), count)
            label = f"c{self.number}"
            files = [("image", ("a.png", data, "image/png"))]
            added = self.post(http, "enroll", f"e{count}", files=files, data={"label": label, "gate": "off"})
            (id_,) = added["added"] + added["unchanged"]  # killed between the write and its kept answer: unchanged
            self.label[id_] = label
            if count % 2 == 0:
                self.doubtful.add(id_)
                to = f"c{self.number}-{count % 5}"
                assert self.post(http, "images/move", f"m{count}", json={"ids": [id_], "label": to}) == {"moved": 1}
                self.label[id_] = to
                self.doubtful.discard(id_)
            if count % 3 == 0:
                self.doubtful.add(id_)
                assert self.post(http, "images/remove", f"r{count}", json={"ids": [id_]}) == {"removed": 1}
                del self.label[id_]
                self.doubtful.discard(id_)

    def post(self, http: httpx2.Client, call: str, key: str, **given: Any) -> dict[str, Any]:
        """Sent until it is answered."""
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                answer = http.post(f"/v1/{call}", headers={"Idempotency-Key": f"{self.number}-{key}"}, **given)
            except httpx2.TransportError:
                self.repeated += 1
                time.sleep(0.02)
                continue
            if answer.status_code == 503:
                time.sleep(0.02)
                continue
            assert answer.status_code == 200, f"{call}: {answer.status_code} {answer.text}"
            self.answers += 1
            self.replayed += "idempotent-replayed" in answer.headers
            return answer.json()
        raise AssertionError("no answer within two minutes")


def crash(kills: int, seed: int = 0) -> dict[str, int]:
    """Kill a server so often; what was seen. Errors: AssertionError for a write that was lost or done twice."""
    rng, stop = random.Random(seed), threading.Event()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, port = create(folder), free_port()
        arguments = (str(path), "--port", str(port), "--rate", "1000000")
        live = Live(folder, *arguments)
        clients = [Client(live.url, number, stop) for number in range(CLIENTS)]
        try:
            for _ in range(kills):
                time.sleep(rng.uniform(0.05, 1.0))
                live.stop(signal.SIGKILL)
                live.close()
                known = [(dict(client.label), set(client.doubtful)) for client in clients]
                live = Live(folder, *arguments)
                found = listed(live)
                for label, doubtful in known:
                    lost = label.keys() - found.keys() - doubtful
                    assert not lost, f"acknowledged and lost: {sorted(lost)[:3]}"
            stop.set()
            for client in clients:
                client.thread.join()
                assert not client.error, client.error
            wanted = {id_: label for client in clients for id_, label in client.label.items()}
            found = listed(live)
            assert found == wanted, f"{len(found)} images, and {len(wanted)} were acknowledged"
            assert live.stop() == 0
        finally:
            stop.set()
            live.close()
        with Gallery.open(path) as gallery:
            report = gallery.check()
            assert report["sound"], report["problems"]
    total = {name: sum(getattr(client, name) for client in clients) for name in ("answers", "repeated", "replayed")}
    return {"kills": kills, **total, "images": len(wanted)}


def listed(live: Live) -> dict[str, str]:
    """Class of every image by id. Errors: AssertionError for an id that is listed twice."""
    found: dict[str, str] = {}
    cursor: str | None = ""
    while cursor is not None:
        answer = live.client.get("/v1/images", params={"cursor": cursor, "limit": 500})
        assert answer.status_code == 200, f"{answer.status_code} {answer.text}"
        page = answer.json()
        for line in page["images"]:
            assert line["id"] not in found, "an image is there twice"
            found[line["id"]] = line["label"]
        cursor = page["next"]
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    seen = crash(asked.kills, asked.seed)
    names = {
        "kills": "kills",
        "answers": "writes acknowledged",
        "repeated": "requests that failed and were sent again",
        "replayed": "of these, done before: answered from the kept answer",
        "images": "images at the end, as acknowledged",
    }
    rows = [f"| {names[key]} | {value:,} |" for key, value in seen.items()]
    rows += ["| acknowledged writes lost | 0 |", "| writes done twice | 0 |"]
    machine.write("crash_serve", "\n".join(["| | |", "|---|---:|", *rows]), __doc__)


if __name__ == "__main__":
    main()
