"""The main job: it makes a proved low-bit file and a report from a checkpoint."""
