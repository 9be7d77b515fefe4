"""Integers as a file stores them: weights, biases, and the layout that kernels want."""
