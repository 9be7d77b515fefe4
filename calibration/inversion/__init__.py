"""Images whose pixels are optimised until the teacher's statistics fit."""
