"""Memory limits: an allocation beyond what a case may take fails in the case, and takes nothing from the others."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

GIB = 2**30

LEAST_SHARE = 4 * GIB
"""Default limit where the machine's share is smaller: shipped cases need a quarter of it."""

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_REFUSED = re.compile(r"can't allocate memory|not enough memory|bad_alloc|out of memory", re.IGNORECASE)


def default_share(device: torch.device, workers: int) -> int:
    """Bytes that a case may take by default: the machine's memory divided by the workers, but never too few.

    Of a GPU one half: arenas wait for memory that other workers hold, and give it back.
    """
    if device.type != "cpu":
        return _gpu_bytes(device) // 2
    return max(LEAST_SHARE, _machine_bytes() // max(1, workers))


def _gpu_bytes(device: torch.device) -> int:
    import torch

    # Read once and kept by torch: it can be asked, too, when a kernel has destroyed the context.
    return int(torch.cuda.get_device_properties(device).total_memory)


def _machine_bytes() -> int:
    """Memory of the machine, or of the container that this process may use of it."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(Path, _CGROUP_LIMITS):
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(path.read_text()))
    return min(limits)


def can_limit(device: torch.device) -> bool:
    """Whether allocations can be refused: on a GPU by torch, in the process by Linux."""
    return device.type != "cpu" or sys.platform == "linux"


def limited(device: torch.device, size: int) -> contextlib.AbstractContextManager[None]:
    """While open, this process can take no more than `size` bytes of the device's memory beside what it has.

    An allocation beyond that fails as on a full machine; `out_of_memory` tells. What is shared between processes and
    what the process had before is not counted; 0 is no limit.
    """
    if not size or not can_limit(device):
        return contextlib.nullcontext()
    return _of_process(size) if device.type == "cpu" else _of_device(device, size)


@contextlib.contextmanager
def _of_process(size: int) -> Generator[None, None, None]:
    """RLIMIT_DATA counts private writable pages, mapped ones too (Linux 4.7 on), but no reserved address ranges."""
    import resource

    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = [limit for limit in (before, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([_private_bytes() + size, *most]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def _private_bytes() -> int:
    """What RLIMIT_DATA counts of this process (Linux, proc(5): VmData)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmData:"))


@contextlib.contextmanager
def _of_device(device: torch.device, size: int) -> Generator[None, None, None]:
    import torch

    share = (torch.cuda.memory_reserved() + size) / _gpu_bytes(device)
    torch.cuda.set_per_process_memory_fraction(min(1.0, share))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that it came from, says that memory was refused: by Python, NumPy, torch or the OS."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    if isinstance(error, RuntimeError) and _REFUSED.search(str(error)):  # torch has no other type of it on the CPU
        return True
    cause = error.__cause__ or error.__context__
    return cause is not None and out_of_memory(cause)
