"""From teacher to fake-quantized student: where quantizers go, and their first ranges."""
