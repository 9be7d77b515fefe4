"""The proof that a file does what its student does, and how fast it is."""
