"""Data-free distillation by every method."""
