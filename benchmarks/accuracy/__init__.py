"""Accuracy of every method on real checkpoints."""
