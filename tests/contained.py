"""What a container adds to a program, with unshare: a root of its own that is read-only, a user without privileges."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["Container"]

SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc", "/dev")
DROP = ["--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]


class Container:
    """A root of system folders, Python and a virtual environment, all read-only; /tmp is empty, /proc its own.

    venv: at its own path. data: appears as /data. secrets: files of /run/secrets.
    """

    def __init__(self, folder: Path, venv: Path, user: str, data: Path, *, read_only: bool = False, **secrets: str):
        if os.geteuid() or not all(map(shutil.which, ("unshare", "setpriv", "nsenter"))):
            pytest.skip("needs root and the programs unshare, setpriv and nsenter")
        tried = ["unshare", "--mount", "--pid", "--fork", "true"]
        if subprocess.run(tried, capture_output=True, check=False).returncode:
            pytest.skip("needs the right to make namespaces")
        self.root, self.user = folder / "root", user
        self.inside = f"/usr/bin/env -i HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PATH={venv / 'bin'}:/usr/bin:/bin"
        lines = ["set -e", f"mkdir -p {self.root}", f"mount -t tmpfs none {self.root}"]
        lines += [f"mkdir {self.root}/tmp", f"mount -t tmpfs -o mode=1777 none {self.root}/tmp"]
        for path in (*(p for p in SYSTEM if Path(p).exists()), sys.base_prefix, str(venv)):
            lines += [f"mkdir -p {self.root}{path}", f"mount --rbind {path} {self.root}{path}"]
            lines += [f"mount -o remount,bind,ro {self.root}{path}"] if path != "/dev" else []
        lines += [f"mkdir {self.root}/data", f"mount --bind {data} {self.root}/data"]
        lines += [f"mount -o remount,bind,ro {self.root}/data"] if read_only else []
        lines += [f"mkdir -p {self.root}/run/secrets"]
        for name, text in secrets.items():
            lines.append(f"printf %s {text} > {self.root}/run/secrets/{name}")
        lines += [f"mkdir {self.root}/proc", f"mount -t proc proc {self.root}/proc", f"mount -o remount,ro {self.root}"]
        lines += [f'exec chroot {self.root} {self._as_user()} "$@"']
        self.script = folder / "contained.sh"
        self.script.write_text("\n".join(lines) + "\n")

    def _as_user(self) -> str:
        user, _, group = self.user.partition(":")
        drop = " ".join(DROP)
        return f"/usr/bin/setpriv --reuid {user} --regid {group} {drop} {self.inside} sh -c 'cd /data; exec \"$@\"' sh"

    def command(self, *arguments: str) -> tuple[str, ...]:
        """What starts a program as the first process of the container."""
        return ("unshare", "--mount", "--pid", "--fork", "--kill-child=TERM", "sh", str(self.script), *arguments)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A program in a container of its own."""
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=120, check=False)

    def first(self, unshare: int) -> int:
        """The process id, seen from outside, of the container's first process."""
        return int(Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()[0])

    def execute(self, first: int, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A further program in a running container, as `docker exec` and health checks do."""
        entered = ["nsenter", "--target", str(first), "--mount", "--pid", "--root", "sh", "-c"]
        return subprocess.run(
            [*entered, f'exec {self._as_user()} "$@"', "sh", *arguments],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
