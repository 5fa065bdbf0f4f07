"""What cannot be checked."""

from __future__ import annotations

from rocassay.harness.errors import RocassayError


class ContractError(RocassayError):
    """A source or a contract that cannot be read; the message names what was given and what would do."""
