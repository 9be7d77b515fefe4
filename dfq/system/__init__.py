"""What a long job needs of the machine: time limits, progress, whole files, number formats."""
