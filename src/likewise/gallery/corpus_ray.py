"""Ray Data as the engine that shares the parts of a corpus out over workers, on one machine or a cluster."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from likewise.extras import install_line
from likewise.gallery.corpus_part import Part, embed_part, use
from likewise.safety.offline import quiet_libraries
from likewise.spec import trusted

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["by_ray"]


def by_ray(model: str, parts: Sequence[Part], folder: Path, workers: int) -> Iterator[Part]:
    """Embed parts with Ray's actors, at most `workers` (0: one a core); yields each part when its file is written.

    A part whose worker was killed is embedded by another one. Errors: ModuleNotFoundError without ray; OSError where a
    part cannot be written, ValueError for a damaged model.
    """
    ray = imported()
    given = {"model": model, "trust_code": trusted(), "folder": os.fspath(folder), "place": os.getcwd()}
    rows = [{"number": i, "name": part.name, "paths": list(part.paths)} for i, part in enumerate(parts)]
    with started(ray, workers):
        most = min(len(parts), workers or int(ray.cluster_resources().get("CPU", 1)))
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=most)
        asked = ray.data.from_items(rows, override_num_blocks=len(parts))
        answers = asked.map(Embed, fn_constructor_kwargs=given, compute=pool, num_cpus=1)
        for answer in answers.iter_rows():
            if answer["refused"]:
                raise ValueError(answer["refused"])
            if answer["errno"]:
                raise OSError(answer["errno"], os.strerror(answer["errno"]), answer["file"])
            yield parts[answer["number"]]


def imported() -> "ModuleType":
    """Ray, which then sends nothing about its use and, without RAY_ADDRESS, listens on 127.0.0.1 alone.

    Errors: ModuleNotFoundError with the line that installs it.
    """
    quiet_libraries()
    if not os.environ.get("RAY_ADDRESS"):
        # Ray takes 127.0.0.1 for the machine's own address, and listens there, unless told that it is on no cluster.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"--engine ray needs ray ({error}): {install_line('ray')}") from None
    return ray


@contextmanager
def started(ray: "ModuleType", workers: int) -> Iterator[None]:
    """The cluster of RAY_ADDRESS, or one of this machine alone that listens on 127.0.0.1 and ends with the block."""
    if ray.is_initialized():
        yield
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init(logging_level="ERROR", log_to_driver=False)
    else:
        ray.init(
            address="local",
            num_cpus=workers or None,
            include_dashboard=False,
            logging_level="ERROR",
            log_to_driver=False,
        )
    context = ray.data.DataContext.get_current()
    before, context.enable_progress_bars = context.enable_progress_bars, False
    try:
        yield
    finally:
        context.enable_progress_bars = before
        ray.shutdown()


class Embed:
    """A worker: embeds part after part and answers what went wrong, since Ray would try a failed one again."""

    def __init__(self, model: str, trust_code: bool, folder: str, place: str):
        os.chdir(place)  # paths may be relative to it
        use(model, trust_code)
        self.folder = Path(folder)

    def __call__(self, row: dict) -> dict[str, object]:
        part = Part(str(row["name"]), tuple(str(path) for path in row["paths"]))
        answer: dict[str, object] = {"number": int(row["number"]), "refused": "", "errno": 0, "file": ""}
        try:
            embed_part(part, self.folder)
        except OSError as error:
            return answer | {"errno": error.errno or 5, "file": str(error.filename or part.file(self.folder))}
        except ValueError as error:
            return answer | {"refused": str(error)}
        return answer
