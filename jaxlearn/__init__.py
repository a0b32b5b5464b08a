"""Published learning methods as pure functions that compose.

Five slots: a model says what is computed, a parametrization what is trainable, a rule where each
parameter's teaching signal comes from, a transform (any optax transformation) what is done to that
signal, and a procedure which stages surround the steps. Any value of one slot works with any value
of the others.
"""

__version__ = "0.1.0"
