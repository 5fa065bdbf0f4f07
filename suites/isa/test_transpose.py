"""Transposed reads of local memory, element by element, against the layout as it is documented for matrix operands."""

from __future__ import annotations

import numpy as np
import pytest

from rocassay.suites.isa.programs import launch

LANES = 64


def transposed(bits: int, lanes: np.ndarray) -> np.ndarray:
    """What ds_read_b64_tr_b16 / b8 gives: [64 lanes, n elements] from what each lane addresses, [64, n].

    Sixteen lanes address a tile whose rows are the result's columns: for 16 bits 4 rows of 16 elements, each held by
    4 lanes one after the other; for 8 bits 8 rows of 16, each held by 2 lanes. Lane l gets column l.
    """
    count = 64 // bits
    holders = 16 // count
    result = np.zeros_like(lanes)
    for block in range(0, LANES, 16):
        for row in range(count):
            held = np.concatenate([lanes[block + row * holders + part] for part in range(holders)])
            for column in range(16):
                result[block + column, row] = held[column]
    return result


@pytest.mark.parametrize("bits", [16, 8])
def test_every_element_goes_where_the_layout_puts_it(bits: int):
    """All elements differ in two launches together: 8 bits number no more than 256 of the 512."""
    count, kind = 64 // bits, np.uint16 if bits == 16 else np.uint8
    numbers = np.arange(LANES * count).reshape(LANES, count)
    for part in range(2):
        data = (numbers >> 8 * part if bits == 8 else numbers + part).astype(kind)
        out = np.zeros((LANES, count), kind)
        found = launch(
            f"""v_lshlrev_b32_e32 v1, 3, v0
            global_load_dwordx2 v[8:9], v1, s[4:5]
            s_waitcnt vmcnt(0)
            ds_write_b64 v1, v[8:9]
            s_waitcnt lgkmcnt(0)
            ds_read_b64_tr_b{bits} v[10:11], v1
            s_waitcnt lgkmcnt(0)
            global_store_dwordx2 v1, v[10:11], s[6:7]""",
            {"data": data, "out": out},
            lds=512,
        )
        assert found.clean
        assert np.array_equal(out, transposed(bits, data))


def test_lanes_may_address_rows_of_a_padded_and_swizzled_tile():
    """Every lane has an address of its own: the transposition is of lanes, not of memory."""
    draw = np.random.default_rng(5)
    places = draw.permutation(128)[:LANES].astype(np.uint32) * 8
    data, out = draw.integers(0, 1 << 16, (LANES, 4), dtype=np.uint16), np.zeros((LANES, 4), np.uint16)
    launch(
        """v_lshlrev_b32_e32 v1, 3, v0
        v_lshlrev_b32_e32 v2, 2, v0
        global_load_dwordx2 v[8:9], v1, s[4:5]
        global_load_dword v3, v2, s[8:9]
        s_waitcnt vmcnt(0)
        ds_write_b64 v3, v[8:9] offset:64
        s_waitcnt lgkmcnt(0)
        ds_read_b64_tr_b16 a[0:1], v3 offset:64
        s_waitcnt lgkmcnt(0)
        v_accvgpr_read_b32 v10, a0
        v_accvgpr_read_b32 v11, a1
        global_store_dwordx2 v1, v[10:11], s[6:7]""",
        {"data": data, "out": out, "places": places},
        lds=2048,
    )
    assert np.array_equal(out, transposed(16, data))
