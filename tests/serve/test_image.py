"""The container image: its steps, run in a clean virtual environment, give a service without torch."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from colours import RED, coloured
from contained import Container
from likewise.serve.tokens import create_token
from live import Live, create, running, write_model

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


@pytest.fixture(scope="module")
def venv(tmp_path_factory) -> Path:
    """What the steps of the first stage give."""
    folder = tmp_path_factory.mktemp("image")
    source, venv = folder / "source", folder / "venv"
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
            output = done.stdout + done.stderr
            if "pip install" in rest and done.returncode and re.search("connection|resolve|No matching|Retry", output):
                pytest.skip(f"pip finds no packages here: {output.strip().splitlines()[-1][:200]}")
            assert done.returncode == 0, f"{rest}\n{output[-3000:]}"
    return venv


def health_check(port: int) -> list[str]:
    """The command of HEALTHCHECK, for a service at another port."""
    return json.loads(dict(steps(1))["HEALTHCHECK"].partition("CMD ")[2].replace(":8000", f":{port}"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_steps_of_the_image_give_a_service_without_torch(venv, tmp_path):
    listed = subprocess.run([venv / "bin" / "pip", "list"], capture_output=True, text=True, check=True).stdout
    assert "torch" not in listed
    command = (str(venv / "bin" / "likewise"), "serve")
    gallery = create(tmp_path)
    with running(tmp_path, str(gallery), "--port", "0", command=command) as live:
        enroll_and_identify(live)
        assert live.client.get("/v1/map").status_code == 200
        _, *check = health_check(live.port)
        assert subprocess.run([venv / "bin" / "python", *check], check=False).returncode == 0
        assert live.stop() == 0
        assert subprocess.run([venv / "bin" / "python", *check], capture_output=True, check=False).returncode == 1


def enroll_and_identify(live: Live) -> None:
    image = [("image", ("a.png", coloured(RED), "image/png"))]
    assert live.client.post("/v1/enroll", files=image, data={"label": "red"}).status_code == 200
    assert live.client.post("/v1/identify", files=image).json()["answers"][0]["label"] == "red"


@contextmanager
def started(container: Container, folder: Path, token: str, *arguments: str) -> Iterator[tuple[Live, int]]:
    """A service as the first process of a container, and its process id."""
    with running(folder, command=container.command(*arguments)) as live:
        first = container.first(live.process.pid)
        live.client.headers["authorization"] = f"Bearer {token}"
        try:
            yield live, first
            os.kill(first, signal.SIGTERM)
            assert live.process.wait(40) == 0, live.text()  # the grace period of compose.yaml
        finally:
            with suppress(ProcessLookupError):
                os.kill(first, signal.SIGKILL)


def is_confined(container: Container, first: int) -> None:
    """The process has no privileges, and can write to /tmp alone."""
    fields = dict(line.split(":\t") for line in Path(f"/proc/{first}/status").read_text().splitlines())
    assert fields["Uid"].split() == fields["Gid"].split() == ["10001"] * 4
    assert {int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert fields["NoNewPrivs"] == "1"
    for path in ("/x", "/usr/x", f"{sys.base_prefix}/x", "/run/secrets/x"):
        assert container.execute(first, "touch", path).returncode == 1, path
    assert container.execute(first, "touch", "/tmp/x").returncode == 0


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.timeout(900)
def test_the_image_runs_without_privileges_on_a_read_only_root(venv, tmp_path):
    """The entry point with the arguments of the Dockerfile's first lines, as its user."""
    data = tmp_path / "data"
    data.mkdir()
    create(data).rename(data / "birds.gallery")
    token = create_token(data / "tokens.toml", "phone", "write")
    for path in (data, *data.rglob("*")):
        os.chown(path, 10001, 10001)
    described = dict(steps(1))
    container = Container(tmp_path, venv, described["USER"], data)
    arguments = ("/data/birds.gallery", "--model", "/data/model/model.onnx", "--token-file", "/data/tokens.toml")
    command = (*json.loads(described["ENTRYPOINT"]), *arguments, "--port", "0")
    with started(container, tmp_path, token, *command) as (live, first):
        is_confined(container, first)
        enroll_and_identify(live)
        assert container.execute(first, *health_check(live.port)).returncode == 0
        assert container.execute(first, *health_check(1)).returncode == 1
    assert "Traceback" not in live.text()


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.timeout(900)
def test_the_composition_serves_postgresql_with_two_processes(server, venv, tmp_path):
    """Entry point, command and health check of compose.yaml; the database's name alone is another address."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    described = services["likewise"]
    server.run("CREATE ROLE likewise SUPERUSER LOGIN PASSWORD 'f00d'", "CREATE DATABASE likewise OWNER likewise")
    word, check = services["database"]["healthcheck"]["test"]
    env = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PATH": str(server.programs)}
    assert word == "CMD-SHELL"
    assert subprocess.run(["/bin/sh", "-c", check], env=env, capture_output=True, check=False).returncode == 0
    data = tmp_path / "data"
    data.mkdir()
    for path in write_model(data / "model").parent.iterdir():
        path.rename(data / path.name)
    token = create_token(data / "tokens.toml", "phone", "write")
    os.chown(data / "tokens.toml", 10001, 10001)
    container = Container(tmp_path, venv, dict(steps(1))["USER"], data, read_only=True, database_password="f00d")
    command = [word.replace("@database/", f"@127.0.0.1:{server.port}/") for word in described["command"]]
    entry = [word.replace("$$", "$") for word in described["entrypoint"]]
    (url,) = (word.partition("=")[2] for word in command if word.startswith("birds="))
    made = container.run(*entry, "gallery", "create", url, "--model", "/data/model.onnx")
    assert made.returncode == 0, made.stdout + made.stderr
    with started(container, tmp_path, token, *entry, *command, "--port=0") as (live, first):
        is_confined(container, first)
        assert "with 2 processes" in live.text()
        enroll_and_identify(live)
        assert container.execute(first, *health_check(live.port)).returncode == 0
    assert "Traceback" not in live.text()
    assert "f00d" not in live.text()


def copied(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    else:
        shutil.copy(source, target)
