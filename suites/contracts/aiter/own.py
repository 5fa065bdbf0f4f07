"""What this project passes to AITER when AITER is judged: the very calls that its adapters make.

Where the last wheel and later versions differ, both conventions are declared, each with the versions that take it.
"""

from __future__ import annotations

from rocassay.harness.contract.declared import Call
from rocassay.suites.contracts.aiter import indexer, mla, sparse

CALLS: tuple[Call, ...] = (*mla.CALLS, *indexer.CALLS, *sparse.CALLS)
