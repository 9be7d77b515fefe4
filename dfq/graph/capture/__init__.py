"""Any network becomes a graph of ATen operators that is compared with it."""
