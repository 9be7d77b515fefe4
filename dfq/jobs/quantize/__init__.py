"""The main job: a checkpoint comes in, a proved low-bit file and a report go out."""
