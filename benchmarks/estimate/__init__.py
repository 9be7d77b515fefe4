"""The predicted drop of accuracy against the true one."""
