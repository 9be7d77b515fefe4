"""Brings a captured network into its canonical form: BatchNorm and affine maps are folded, branches are merged."""
