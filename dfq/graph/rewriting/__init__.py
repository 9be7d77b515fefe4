"""ATen operators become layers and functions of torch, under the names of the modules that own the weights."""
