"""The census: what becomes of many architectures."""
