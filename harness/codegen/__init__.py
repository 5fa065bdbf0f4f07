"""Kernel launches as code objects, without a GPU: how they are compiled, and what their machine code is held to."""

from __future__ import annotations

from rocassay.harness.codegen.compiling import (
    CUDA_ARCHES,
    CodeObject,
    captured,
    compile_launch,
    options_of,
    source_of,
    target_of,
)

__all__ = ["CUDA_ARCHES", "CodeObject", "captured", "compile_launch", "options_of", "source_of", "target_of"]
