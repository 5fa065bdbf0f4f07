"""Our gates and those of other projects on the same defects, from short contexts to long ones."""
