"""Networks and how they are trained: perceptrons as one stack, convolutional networks side by side.

No storage, no choice of what to train (`engine`). Read `trainer` first, then `mlp` and `cnn`; `metrics` is what a run
leaves.
"""
