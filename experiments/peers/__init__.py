"""The same training steps in PyTorch, for `bench`: written from its public layers.

Each starts from our weights, shows that it computes what ours computes, and does a whole step: loss
or losses, gradients, and the optimiser.
"""
