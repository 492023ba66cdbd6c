"""Reads what `likewise.doctor.machine` judges: /proc, the container's limits, torch and the disk of a folder."""

import math
import os
import platform
import shutil
from contextlib import suppress
from pathlib import Path

import torch

from likewise.doctor import machine
from likewise.doctor.machine import Gpu, Machine

__all__ = ["probe", "usable_cores"]

CGROUP = Path("/sys/fs/cgroup")
DRIVER = Path("/proc/driver/nvidia/version")
SYSTEM_FILE = 1 << 22  # characters; /proc/cpuinfo has some 1,500 for each processor


def probe(folder: Path) -> Machine:
    """This machine, and the disk of a folder. Errors: OSError for a folder that is not there."""
    cpuinfo = text(Path("/proc/cpuinfo"))
    memory, free = machine.memory_of(
        text(Path("/proc/meminfo")), text(CGROUP / "memory.max"), text(CGROUP / "memory.current")
    )
    disk = shutil.disk_usage(folder)
    gpus = gpus_of_torch()
    return Machine(
        system=f"{platform.platform(terse=True)}, Python {platform.python_version()}, torch {torch.__version__}",
        processor=machine.processor_of(cpuinfo) or platform.processor() or platform.machine(),
        cores=os.cpu_count() or 1,
        usable=usable_cores(),
        instructions=machine.instruction_sets(cpuinfo),
        torch_threads=torch.get_num_threads(),
        openmp_threads=machine.openmp_threads(torch.__config__.parallel_info()),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        memory=memory,
        memory_free=free,
        folder=os.fspath(folder.resolve()),
        disk=disk.total,
        disk_free=disk.free,
        gpus=gpus,
        gpu_unused=DRIVER.exists() and not gpus,
    )


def usable_cores() -> int:
    """Cores that this process may use: its affinity, within the quota of a container."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = machine.cores_allowed(text(CGROUP / "cpu.max"))
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def gpus_of_torch() -> tuple[Gpu, ...]:
    """Name, memory and free memory of every CUDA device, or the name of Apple's GPU."""
    if torch.backends.mps.is_available():
        size = torch.mps.recommended_max_memory()
        return (Gpu("Apple GPU", size, size - torch.mps.driver_allocated_memory()),)
    gpus = []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        gpus.append(Gpu(torch.cuda.get_device_name(number), total, free))
    return tuple(gpus)


def text(path: Path) -> str:
    """The file of the system, or an empty text where there is none."""
    with suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
        return file.read(SYSTEM_FILE)
    return ""
