"""Images: what a network expects of them, batches, ways to vary them, and labelled images from disk."""
