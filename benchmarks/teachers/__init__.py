"""Two teachers without BatchNorm, which stand for transformers and for ConvNeXt on images of 32×32 pixels."""
