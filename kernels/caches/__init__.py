"""Writers and gathers of the MLA key caches: the 584-byte, the 656-byte and the dense 576-wide token."""
