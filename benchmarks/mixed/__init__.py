"""Mixed precision against one width for all layers."""
