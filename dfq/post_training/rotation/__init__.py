"""Linear residual streams are rotated into a basis in which all channels are equally wide."""
