"""The canonical form of a captured network: BatchNorm and affine maps are folded, branches are merged."""
