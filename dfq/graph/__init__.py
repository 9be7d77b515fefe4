"""A network as a graph of layers: how it is captured, rewritten and folded into the form that everything else reads."""
