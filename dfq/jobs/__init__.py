"""The jobs that one can ask for, each in a folder or a file of its own."""
