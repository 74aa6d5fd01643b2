"""Build tasks: reading their trees, loading them, and noting which are gone."""
