"""Fitting a student to its teacher: the loop, objectives, losses, and where batches come from."""
