"""Every table of expected decisions lists every architecture that has a row in the dispatch tables."""

from __future__ import annotations

from rocassay.harness import arch
from rocassay.references.dispatch import dsv4, mla, prefill, topk
from rocassay.references.indexer import dispatch as indexer

EXPECTED = (dsv4, indexer, mla, prefill, topk)


def test_every_table_of_expectations_lists_the_architectures_of_dispatch():
    lacking = {table.__name__: set(arch.DISPATCH_ARCHES) ^ set(table.ARCHES) for table in EXPECTED}
    assert {name: names for name, names in lacking.items() if names} == {}
