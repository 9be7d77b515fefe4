"""Integer grids: what runtimes allow, which scheme gives which grid, and the modules that round."""
