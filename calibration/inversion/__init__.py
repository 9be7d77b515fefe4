"""Images whose pixels are optimized until the teacher's statistics fit."""
