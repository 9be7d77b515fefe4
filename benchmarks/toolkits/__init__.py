"""Another toolkit, calibrated with dfq's images."""
