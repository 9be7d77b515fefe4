"""Turns ATen operators into layers and functions of torch, under the names of the modules that own the weights."""
