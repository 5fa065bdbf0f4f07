"""rocassay: assay ROCm attention kernels against gold."""

__version__ = "0.1.0"
