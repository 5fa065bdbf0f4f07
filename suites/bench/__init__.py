"""Benches of the shipped kernels, at the shapes of DeepSeek V3.2 and V4; `rocassay bench` runs them on a device."""
