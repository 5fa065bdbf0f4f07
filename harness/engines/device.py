"""The device engine: Triton's own compiler and launch on the ROCm or CUDA device that torch uses."""

# pyright: reportMissingTypeStubs=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Generator
from typing import Any

import torch
import triton

from rocassay.harness.arch import Target, profile
from rocassay.harness.codegen.digests import code_digest
from rocassay.harness.engines.base import EngineUnavailable, Trace
from rocassay.harness.engines.launch import Launch, intercepted

AMD_ONLY_OPTIONS = ("waves_per_eu", "matrix_instr_nonkdim", "kpack")
"""Launch options that Triton's CUDA back end refuses (triton/backends/amd/compiler.py: HIPOptions)."""

_KEPT_BYTES = 2**30
_FIRST_FP8_CAPABILITY = (8, 9)
_CUDA_FP8 = frozenset({"e4m3fn", "e5m2"})


def architecture_of(gcn_arch_name: str) -> str:
    """gfx name without target features: "gfx942:sramecc+:xnack-" is "gfx942"."""
    return gcn_arch_name.partition(":")[0]


def cuda_fp8(capability: tuple[int, int]) -> frozenset[str]:
    """FP8 formats that a CUDA device converts itself: e4m3fn and e5m2 from compute capability 8.9 on."""
    return _CUDA_FP8 if capability >= _FIRST_FP8_CAPABILITY else frozenset()


def arch_mismatch(device_arch: str, case_arch: str) -> str | None:
    """Why a ROCm device cannot stand in for `case_arch`, in words; None when it is that architecture."""
    if device_arch == case_arch:
        return None
    return f"the device is {device_arch}, the case is for {case_arch}"


@contextlib.contextmanager
def _uncollected() -> Generator[None, None, None]:
    """While open, Python collects no cycles."""
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class DeviceEngine:
    """Runs launches natively on torch's current "cuda" device, which on ROCm builds is an AMD GPU."""

    name = "device"

    def __init__(self) -> None:
        self.device = torch.device("cuda")
        self._is_rocm = torch.version.hip is not None
        self._digests: dict[str, str] = {}

    def target(self, arch: str) -> Target:
        """Decisions of `arch`; native formats are the architecture's on ROCm, the device's on CUDA."""
        if self._is_rocm:
            return Target(arch, "hip", profile(arch).native_fp8)
        return Target(arch, "cuda", cuda_fp8(torch.cuda.get_device_capability()))

    def unavailable(self, arch: str, fp8: str) -> str | None:  # noqa: ARG002
        """No GPU, or a ROCm device of another architecture.

        A CUDA device serves every arch: kernels decode formats that are not its own byte by byte.
        """
        problem = self._problem()
        if problem is not None or not self._is_rocm:
            return problem
        return arch_mismatch(architecture_of(torch.cuda.get_device_properties().gcnArchName), arch)

    def stands_for(self, arch: str) -> bool:
        """A ROCm device stands for its own architecture, a CUDA device for every one."""
        if not self._is_rocm or self._problem() is not None:
            return True
        return architecture_of(torch.cuda.get_device_properties().gcnArchName) == arch

    def release(self) -> None:
        """Empty torch's cache once it holds more than a small run needs; a context that is gone holds nothing."""
        if torch.cuda.is_available() and torch.cuda.memory_reserved() > _KEPT_BYTES and self.lost() is None:
            torch.cuda.empty_cache()

    def lost(self) -> str | None:
        """The sticky error of a context that a kernel has destroyed: nothing runs in this process any more."""
        if self._problem() is not None:
            return None
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:
            return str(error).partition("\n")[0]
        return None

    @contextlib.contextmanager
    def session(self) -> Generator[Trace, None, None]:
        """While open, launches are recorded; the device is synchronised before it closes.

        AMD-only options are left out on CUDA. Device errors of the session's kernels surface inside it.
        """
        problem = self._problem()
        if problem is not None:
            raise EngineUnavailable(problem)
        trace = Trace()

        def handle(launch: Launch, proceed: Callable[..., Any]) -> Any:
            trace.launches.append(launch)
            kernel = proceed(**self._overrides(launch))
            if digest := self._digest(kernel):
                trace.codes.setdefault(launch.name, set()).add(digest)
            return kernel

        with intercepted(handle):
            yield trace
            torch.cuda.synchronize()

    def captured(self, call: Callable[[], None]) -> Callable[[], None]:
        """The launches of `call` as a CUDA or HIP graph; what it calls has run before, so nothing is compiled.

        Nothing is collected meanwhile: a kernel that dies unloads its module, which no stream under capture allows.
        """
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with _uncollected(), torch.cuda.graph(graph):
            call()
        return graph.replay

    def describe(self) -> dict[str, str]:
        """Versions of Triton, torch and the GPU stack, and the device's name and architecture."""
        facts = {
            "engine": self.name,
            "triton": triton.__version__,
            "torch": str(torch.__version__),
            "rocm": str(torch.version.hip or ""),
            "cuda": str(torch.version.cuda or ""),
        }
        if self._problem() is not None:
            return facts | {"device": "none"}
        properties = torch.cuda.get_device_properties()
        arch = architecture_of(properties.gcnArchName) if self._is_rocm else f"sm_{properties.major}{properties.minor}"
        return facts | {"device": str(properties.name), "arch": arch}

    def _digest(self, kernel: Any) -> str:
        """Digest of the code of what Triton launched, read once per compilation; empty where it has no text."""
        key, asm = getattr(kernel, "hash", None), getattr(kernel, "asm", None)
        if key is None or asm is None:
            return ""
        if key not in self._digests:
            self._digests[key] = code_digest(asm)
        return self._digests[key]

    def _overrides(self, launch: Launch) -> dict[str, None]:
        if self._is_rocm:
            return {}
        return {name: None for name in AMD_ONLY_OPTIONS if name in launch.options}

    def _problem(self) -> str | None:
        if torch.cuda.is_available():
            return None
        return "torch sees no GPU; use the interpreter engine, or install torch for ROCm or CUDA"
