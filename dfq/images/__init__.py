"""What a network expects of images, batches of them, ways to vary them, and labelled ones from disk."""
