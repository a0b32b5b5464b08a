"""Auxiliary networks between a representation and a local loss."""
