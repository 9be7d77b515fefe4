"""Integer grids: what runtimes allow, which grid each scheme gives, and the modules that round."""
