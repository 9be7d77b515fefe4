"""A network as a graph of layers: how it is captured, and the canonical form that everything else reads."""
