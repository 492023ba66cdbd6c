"""What benchmarks/serve.py runs in processes of their own: the encoder alone, and clients. Prints JSON.

python benchmarks/serve_child.py bare MODEL.onnx SECONDS IMAGES...
python benchmarks/serve_child.py load PORT CLIENTS SECONDS IMAGES...
"""

import http.client
import json
import sys
import threading
import time
from pathlib import Path

HEAD = b'--b\r\ncontent-disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
KIND = {"content-type": "multipart/form-data; boundary=b"}


def bare(model: str, seconds: str, *paths: str) -> dict:
    """Batches of 64 as fast as they go."""
    from likewise.gallery.encoder import OnnxEncoder
    from likewise.malloc import keep_memory

    keep_memory()
    encoder, count = OnnxEncoder(model), 0
    encoder.embed(paths[:64])
    began, used = time.perf_counter(), time.process_time()
    while time.perf_counter() - began < float(seconds):
        at = count % max(1, len(paths) - 63)
        count += len(encoder.embed(paths[at : at + 64]))
    took = time.perf_counter() - began
    return {"rate": count / took, "cpu": (time.process_time() - used) / count}


def load(port: str, clients: str, seconds: str, *paths: str) -> dict:
    """Each client sends an image, and the next one when the answer has come."""
    bodies = [HEAD + Path(path).read_bytes() + b"\r\n--b--\r\n" for path in paths]
    times: list[float] = []
    errors: list[str] = []
    began, used = time.perf_counter(), time.process_time()

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
        i = number * 7
        while time.perf_counter() - began < float(seconds):
            sent, i = time.perf_counter(), i + 1
            try:
                connection.request("POST", "/v1/identify", bodies[i % len(bodies)], KIND)
                answer = connection.getresponse()
                text = answer.read()
                if answer.status != 200:
                    errors.append(f"{answer.status} {text[:100]!r}")
            except OSError as error:
                errors.append(repr(error))
                connection.close()
            times.append(time.perf_counter() - sent)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(int(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    cpu = (time.process_time() - used) / max(1, len(times))
    return {"rate": len(times) / took, "seconds": times, "errors": errors, "cpu": cpu}


if __name__ == "__main__":
    print(json.dumps({"bare": bare, "load": load}[sys.argv[1]](*sys.argv[2:])))
