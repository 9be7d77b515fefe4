"""Captures any network as a graph of ATen operators, and compares the graph with the network."""
