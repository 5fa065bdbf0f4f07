"""Calls into other projects' packages, as data: `rocassay contract` binds them to a version that is not imported."""
