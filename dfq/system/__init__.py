"""What a long job needs from the machine: time limits, progress, whole files, number formats."""
