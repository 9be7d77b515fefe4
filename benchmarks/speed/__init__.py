"""What the methods and their parts cost in time and memory."""
