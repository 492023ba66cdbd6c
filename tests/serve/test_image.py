"""The container image: its steps, run in a clean virtual environment, give a service without torch."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from colours import RED, coloured
from live import create, running

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

ROOT = Path(__file__).parents[2]


def steps(stage: int) -> list[tuple[str, str]]:
    """Instructions of a stage and what they are given, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    starts = [i for i, line in enumerate(lines) if line.startswith("FROM ")] + [len(lines)]
    return [
        (word, rest) for word, _, rest in (line.partition(" ") for line in lines[starts[stage] : starts[stage + 1]])
    ]


def test_the_image_is_not_run_as_root_and_tells_its_health():
    found = dict(steps(1))
    assert found["USER"] == "10001:10001"
    assert "/v1/health" in found["HEALTHCHECK"]
    assert json.loads(found["ENTRYPOINT"])[:2] == ["likewise", "serve"]


def test_the_composition_is_read_only_and_open_to_this_machine_alone():
    found = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["likewise"]
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in found["ports"])
    assert "--token-file=/data/tokens.toml" in found["command"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_steps_of_the_image_give_a_service_without_torch(tmp_path):
    source, venv = tmp_path / "source", tmp_path / "venv"
    source.mkdir()
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    python = Path(sys.executable).parent
    env |= {"VIRTUAL_ENV": str(venv), "PATH": f"{venv / 'bin'}:{python}:{os.environ['PATH']}"}
    for word, rest in steps(0):
        if word == "COPY":
            *names, _ = rest.split()
            for name in names:
                copied(ROOT / name, source / name)
        elif word == "RUN":
            done = subprocess.run(["sh", "-ec", rest], cwd=source, env=env, capture_output=True, text=True, check=False)
            said = done.stdout + done.stderr
            if "pip install" in rest and done.returncode and re.search("connection|resolve|No matching|Retry", said):
                pytest.skip(f"pip finds no packages here: {said.strip().splitlines()[-1][:200]}")
            assert done.returncode == 0, f"{rest}\n{said[-3000:]}"
    listed = subprocess.run([venv / "bin" / "pip", "list"], capture_output=True, text=True, check=True).stdout
    assert "torch" not in listed
    command = (str(venv / "bin" / "likewise"), "serve")
    gallery = create(tmp_path)
    image = [("image", ("a.png", coloured(RED), "image/png"))]
    with running(tmp_path, str(gallery), "--port", "0", command=command) as live:
        assert live.client.post("/v1/enroll", files=image, data={"label": "red"}).status_code == 200
        assert live.client.post("/v1/identify", files=image).json()["answers"][0]["label"] == "red"
        assert live.client.get("/v1/map").status_code == 200
        health = dict(steps(1))["HEALTHCHECK"].partition("CMD ")[2].replace(":8000", f":{live.port}")
        _, *check = json.loads(health)
        assert subprocess.run([venv / "bin" / "python", *check], check=False).returncode == 0
        assert live.stop() == 0
        assert subprocess.run([venv / "bin" / "python", *check], capture_output=True, check=False).returncode == 1


def copied(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    else:
        shutil.copy(source, target)
