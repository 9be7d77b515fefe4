"""Channels are rescaled so that one grid suits all of them."""
