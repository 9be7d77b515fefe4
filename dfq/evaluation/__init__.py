"""How good images and a student are, told without real data."""
