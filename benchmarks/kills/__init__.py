"""Jobs that are killed at random times and gone on with."""
