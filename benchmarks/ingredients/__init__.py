"""What each ingredient of the default method contributes."""
