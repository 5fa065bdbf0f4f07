"""Calibration: how the gates' statistics are distributed on healthy kernels, and how often the gates lie."""
