"""Speed of the shipped kernels on a device: what is timed, how, and what is recorded; knows no op by name."""
