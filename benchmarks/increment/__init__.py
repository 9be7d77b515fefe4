"""New classes without images of the old ones."""
