"""Captures a network as a graph of layers, rewrites it, and folds it into the form that all other rooms read."""
