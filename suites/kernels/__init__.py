"""One module per op: cases, inputs, golden, peer, plan, probes, faults; and one test that judges them all."""
