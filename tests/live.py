"""A service in a process of its own, over a small ONNX model that is made on the spot."""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from likewise import Gallery

__all__ = ["Live", "create", "running", "write_model"]

LISTENING = re.compile(r"listening on (https?)://([^\s]+):(\d+)")
PATIENCE = 60.0  # seconds for what takes one


def write_model(folder: Path, size: int = 16) -> Path:
    """A model.onnx with its checksum, whose vector is the mean colour of the four quarters of an image."""
    from onnx import TensorProto, helper

    steps = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["means"], kernel_shape=[size // 2] * 2, strides=[size // 2] * 2),
        helper.make_node("Flatten", ["means"], ["vector"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", size, size, 3])
    vector = helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["N", 12])
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(helper.make_graph(steps, "colours", [image], [vector]), opset_imports=[opset])
    model.ir_version = 9
    about = {
        "shape": [3, size, size],
        "dim": 12,
        "sim": "cosine",
        "input": "uint8 [N, H, W, C]",
        "classes": [],
        "threshold": {"value": 0.9, "low": 0.85, "high": 0.93, "target": "accuracy", "n": 60},
    }
    helper.set_model_props(model, {"likewise": json.dumps(about)})
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    (folder / "SHA256SUMS").write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  model.onnx\n")
    return path


def create(folder: Path) -> Path:
    """An empty gallery of that model."""
    path = folder / "live.gallery"
    Gallery.create(path, write_model(folder / "model")).close()
    return path


class Live:
    """`python -m likewise serve ...`, or another command that serves; its log lies in a file."""

    def __init__(
        self, folder: Path, *arguments: str, command: tuple[str, ...] = (), verify: Any = True, threads: int = 1
    ):
        self.log = folder / "serve.log"
        command = command or (sys.executable, "-m", "likewise", "serve")
        env = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "error,ignore::ResourceWarning"}
        with self.log.open("ab") as log:
            start = log.tell()
            self.process = subprocess.Popen([*command, *arguments], stdout=log, stderr=log, env=env)
        scheme, host, port = self._listening(start)
        self.host = "127.0.0.1" if host == "0.0.0.0" else host
        self.port = int(port)
        self.url = f"{scheme}://{self.host}:{port}"
        self.client = httpx2.Client(base_url=self.url, timeout=PATIENCE, verify=verify)

    def _listening(self, start: int) -> tuple[str, str, str]:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self.process.poll() is None:
            if found := LISTENING.search(self.text()[start:]):
                return found[1], found[2], found[3]
            time.sleep(0.02)
        self.stop()
        raise AssertionError(f"it does not listen: {self.text()[start:]}")

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), PATIENCE)

    def status(self, name: str) -> int:
        """A number of /proc/PID/status, such as VmHWM in kB or Threads."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith(name + ":")))

    def handles(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """The exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if hasattr(self, "client"):
            self.client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)


@contextmanager
def running(folder: Path, *arguments: str, **given) -> Iterator[Live]:
    live = Live(folder, *arguments, **given)
    try:
        yield live
    finally:
        live.close()
