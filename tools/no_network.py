"""Every command under strace: does one open a connection or resolve a name unasked? Exit code 1 where one does.

    python tools/no_network.py

strace must be installed (Debian: apt-get install strace). Unix sockets are local and allowed; so is a socket that is
never connected. A name is resolved by reading /etc/resolv.conf or by sending to port 53. With `unshare` available,
each command also runs in a network namespace without interfaces and must succeed there.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CONNECTS = re.compile(r'(connect|sendto|sendmsg|sendmmsg)\(.*AF_INET|"/etc/resolv\.conf"|sin_port=htons\(53\)')
TRAIN = ("train", "digits", "epochs=1", "max_per_class=20", "network=mlp(widths=(16,))", "dim=4")
COMMANDS = {
    "train": (*TRAIN, "--out", "runs"),
    "evaluate": ("evaluate", "runs/digits"),
    "report": ("report", "runs/digits"),
    "map": ("map", "runs/digits", "--method", "pca"),
    "animate": ("animate", "runs/digits"),
    "doctor": ("doctor", "runs/digits"),
    "audit": ("audit", "runs/digits"),
    "rank": ("rank", "runs/digits"),
    "export": ("export", "runs/digits", "--to", "onnx"),
    "embed": ("embed", "runs/digits", "image.png"),
    "predict": ("predict", "runs/digits", "image.png"),
    "verify": ("verify", "runs/digits", "image.png", "image.png"),
    "list": ("list", "losses"),
    "explain": ("explain", "triplet"),
    "data list": ("data", "list"),
}


def main() -> int:
    if not shutil.which("strace"):
        print("strace is not installed; apt-get install strace")
        return 2
    alone = ["unshare", "--net"] if subprocess.run(["unshare", "--net", "true"], check=False).returncode == 0 else []
    with tempfile.TemporaryDirectory() as folder:
        image(Path(folder) / "image.png")
        wrong = [name for name, words in COMMANDS.items() if not quiet(name, words, folder, alone)]
    print(f"{len(COMMANDS) - len(wrong)} of {len(COMMANDS)} commands without a connection or a look-up", end="")
    print(", each in a network namespace of its own" if alone else "")
    return 1 if wrong else 0


def image(path: Path) -> None:
    from PIL import Image

    Image.linear_gradient("L").resize((8, 8)).save(path)


def quiet(name: str, words: tuple[str, ...], folder: str, alone: list[str]) -> bool:
    """Whether a command ends well and asks nobody."""
    trace = Path(folder) / "trace.txt"
    call = [sys.executable, "-m", "likewise", *words]
    strace = ["strace", "-f", "-qq", "-s", "200", "-e", "trace=network,openat", "-o", str(trace)]
    done = subprocess.run([*alone, *strace, *call], cwd=folder, capture_output=True, text=True, check=False)
    asked = [line for line in trace.read_text(errors="replace").splitlines() if CONNECTS.search(line)]
    print(f"{name:10} {'quiet' if not asked else 'ASKS'}, exit code {done.returncode}", flush=True)
    for line in asked[:5]:
        print("    " + line.split(" ", 1)[-1][:160])
    if done.returncode:
        print("    " + (done.stderr.strip().splitlines() or [""])[-1][:200])
    return not asked and done.returncode == 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
