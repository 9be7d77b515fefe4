"""The runtimes that can run a file, and what runs on which kernel in it."""
