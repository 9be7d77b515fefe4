"""What post-training without learning should consist of."""
