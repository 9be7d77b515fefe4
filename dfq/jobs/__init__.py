"""What one can ask for: a folder for each verb."""
