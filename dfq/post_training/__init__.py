"""What is done to a student besides training it end to end: a file or a folder for each technique."""
