"""What images of networks without BatchNorm statistics are worth: folded files, a transformer, a ConvNeXt."""
