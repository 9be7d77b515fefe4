"""From a teacher to its fake-quantized student: where quantizers go, and their first ranges."""
