"""Golden vectors and properties of the builders of ragged index lists."""
