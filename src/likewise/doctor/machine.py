"""What a machine offers, and what to set where it is slow. Pure; `likewise.doctor.probe` reads the machine."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath

from likewise.doctor.causes import Finding

__all__ = [
    "GIB",
    "Gpu",
    "Machine",
    "advice",
    "cores_allowed",
    "instruction_sets",
    "lines",
    "memory_of",
    "openmp_threads",
    "processor_of",
]

GIB = 1 << 30
LITTLE_MEMORY = 2 * GIB
LITTLE_DISK = 5 * GIB
SHARED_GPU = 0.5  # share of a GPU's memory below which another program is using it
UNLIMITED = 1 << 60  # cgroup v1 writes a number near 2^63 where there is no limit

# flag of /proc/cpuinfo: the name that its makers give it
INSTRUCTIONS = {"avx2": "AVX2", "avx512f": "AVX512", "amx_tile": "AMX"}


@dataclass(frozen=True)
class Gpu:
    """Memory in bytes."""

    name: str
    memory: int
    free: int


@dataclass(frozen=True)
class Machine:
    """Cores, threads, memory and disk in bytes. None: the system does not say."""

    system: str
    processor: str
    cores: int
    usable: int  # cores that this process may use: affinity, and the quota of a container
    instructions: tuple[str, ...] | None
    torch_threads: int
    openmp_threads: int | None
    load: float | None  # of the last minute: processes that run or wait for a core
    memory: int | None
    memory_free: int | None
    folder: str
    disk: int
    disk_free: int
    gpus: tuple[Gpu, ...] = ()
    gpu_unused: bool = False  # there is an NVIDIA driver, and torch sees no GPU

    def to_dict(self) -> dict[str, object]:
        return asdict(self)

    @property
    def is_busy(self) -> bool:
        """Whether other work takes most of the cores."""
        return self.load is not None and self.load >= 0.75 * self.cores


def instruction_sets(cpuinfo: str) -> tuple[str, ...] | None:
    """Those of AVX2, AVX512 and AMX that the first processor in /proc/cpuinfo has; None where it lists no flags."""
    match = re.search(r"^flags\s*:(.*)$", cpuinfo, flags=re.MULTILINE)
    if match is None:
        return None
    flags = set(match[1].split())
    return tuple(name for flag, name in INSTRUCTIONS.items() if flag in flags)


def processor_of(cpuinfo: str) -> str:
    """The model name in /proc/cpuinfo, or an empty text."""
    match = re.search(r"^model name\s*:\s*(.+?)\s*$", cpuinfo, flags=re.MULTILINE)
    return match[1] if match else ""


def cores_allowed(cpu_max: str) -> float | None:
    """Cores that a container's cpu.max (`quota period`, microseconds) allows; None for `max` and anything else."""
    words = cpu_max.split()
    if len(words) != 2 or not all(word.isdigit() and int(word) for word in words):
        return None
    return int(words[0]) / int(words[1])


def memory_of(meminfo: str, limit: str = "", used: str = "") -> tuple[int | None, int | None]:
    """Total and available bytes from /proc/meminfo, within a container's limit where it has one; None: not said."""
    total, free = (kibibytes(meminfo, name) for name in ("MemTotal", "MemAvailable"))
    if limit.strip().isdigit() and int(limit) < min(total or UNLIMITED, UNLIMITED):
        total = int(limit)
        if used.strip().isdigit():
            free = min(total if free is None else free, max(0, total - int(used)))
    return total, free


def kibibytes(meminfo: str, name: str) -> int | None:
    match = re.search(rf"^{name}:\s*(\d+) kB", meminfo, flags=re.MULTILINE)
    return int(match[1]) << 10 if match else None


def openmp_threads(parallel_info: str) -> int | None:
    """The threads of OpenMP, from torch's own description; None where torch is built without."""
    match = re.search(r"omp_get_max_threads\(\)\s*:\s*(\d+)", parallel_info)
    return int(match[1]) if match else None


def advice(machine: Machine) -> list[Finding]:
    """What is slow or short on this machine, and what to set."""
    return [finding for rule in (busy, threads, instructions, memory, disk, gpu) if (finding := rule(machine))]


def busy(m: Machine) -> Finding | None:
    if not m.is_busy:
        return None
    taken = f"other work takes the cores (load {m.load:.1f} on {m.cores})"
    if m.torch_threads == 1:
        return Finding("busy-cores", taken, "keep to one thread, and wait for free cores before you measure times")
    return Finding(
        "busy-cores",
        f"{taken}, and threads that wait for one another are then slower than one",
        "set OMP_NUM_THREADS=1",
    )


def threads(m: Machine) -> Finding | None:
    if m.torch_threads > m.usable:
        return Finding(
            "too-many-threads",
            f"torch uses {m.torch_threads} threads, and this process may use {cores(m.usable)}",
            f"set OMP_NUM_THREADS={m.usable}",
        )
    if m.torch_threads < m.usable and not m.is_busy:
        return Finding(
            "idle-cores",
            f"torch uses {m.torch_threads} of {m.usable} usable cores",
            f"set OMP_NUM_THREADS={m.usable} for one process, or start several (torchrun, embed --workers)",
        )
    return None


def instructions(m: Machine) -> Finding | None:
    if m.instructions is None or "AVX2" in m.instructions:
        return None
    return Finding(
        "no-avx2",
        "the processor, or the virtual machine, has no AVX2, without which torch computes in short vectors",
        "use another machine, or let the virtual machine pass the processor through",
    )


def memory(m: Machine) -> Finding | None:
    if m.memory_free is None or m.memory_free >= LITTLE_MEMORY:
        return None
    return Finding(
        "little-memory",
        f"{gib(m.memory_free)} of memory are free",
        "close other programs, or set a smaller batch or size=, or accumulate=4",
    )


def disk(m: Machine) -> Finding | None:
    if m.disk_free >= LITTLE_DISK:
        return None
    return Finding(
        "little-disk",
        f"{gib(m.disk_free)} are free on the disk of {m.folder}",
        "free some space, or give --out a folder on another disk, and LIKEWISE_CACHE for decoded images",
    )


def gpu(m: Machine) -> Finding | None:
    if m.gpu_unused:
        return Finding(
            "unused-gpu",
            "there is an NVIDIA GPU, and this torch cannot use it",
            "install a torch built for CUDA, and check CUDA_VISIBLE_DEVICES and the driver",
        )
    shared = [i for i, g in enumerate(m.gpus) if g.free < SHARED_GPU * g.memory]
    if not shared:
        return None
    one = m.gpus[shared[0]]
    idle = max(range(len(m.gpus)), key=lambda i: m.gpus[i].free)
    change = "wait, or end that program" if idle in shared else f"set CUDA_VISIBLE_DEVICES={idle}"
    return Finding(
        "shared-gpu", f"another program uses GPU {shared[0]}: {gib(one.free)} of {gib(one.memory)} are free", change
    )


def lines(m: Machine) -> Sequence[str]:
    """The facts, one line each."""
    known = "unknown" if m.instructions is None else ", ".join(m.instructions) or "none of AVX2, AVX512, AMX"
    load = "unknown" if m.load is None else f"{m.load:.1f} in the last minute"
    openmp = "unknown" if m.openmp_threads is None else str(m.openmp_threads)
    seen = [f"{g.name}, {gib(g.free)} free of {gib(g.memory)}" for g in m.gpus]
    return [
        f"system        {m.system}",
        f"processor     {m.processor or 'unknown'}; {m.usable} of {cores(m.cores)} usable",
        f"instructions  {known}",
        f"threads       torch {m.torch_threads}, OpenMP {openmp}",
        f"load          {load}",
        f"memory        {gib(m.memory_free)} free of {gib(m.memory)}",
        f"disk          {gib(m.disk_free)} free of {gib(m.disk)} at {PurePath(m.folder)}",
        f"GPU           {'; '.join(seen) or 'none'}",
    ]


def gib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / GIB:.1f} GiB"


def cores(number: int) -> str:
    return f"{number} core{'' if number == 1 else 's'}"
