"""Providers that judge other projects' kernels, each a package with a `PROVIDER`."""
