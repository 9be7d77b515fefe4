"""Turns a checkpoint file into a network with its weights, its architecture's name and its input, and back."""

from dfq.checkpoint.load import Loaded, load_checkpoint
from dfq.checkpoint.network import describe_network
from dfq.checkpoint.save import save_checkpoint

__all__ = ["Loaded", "describe_network", "load_checkpoint", "save_checkpoint"]
