"""Judges images and students without real data: how varied images are, and which drop of accuracy is likely."""
