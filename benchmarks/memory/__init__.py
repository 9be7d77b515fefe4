"""Memory and disk of whole commands."""
