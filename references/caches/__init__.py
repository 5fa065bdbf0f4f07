"""What the writers and gathers of the MLA key caches must store and return."""
