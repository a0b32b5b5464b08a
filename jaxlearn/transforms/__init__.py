"""Optax gradient transformations, one method per file, and learning-rate schedules."""
