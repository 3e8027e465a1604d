"""Entry points of the built-in stage kinds."""
