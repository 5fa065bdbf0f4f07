"""Row-wise top-k and the packing of ragged rows into a padded batch."""
