"""Networks of every kind of output, quantized and compared."""
