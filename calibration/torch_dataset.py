"""Synthetic images for anything that reads a torch `Dataset`."""

from torch import Tensor
from torch.utils.data import Dataset

from dfq.calibration.stored_images import ImageSource, read_images

NO_LABEL = -1


class ImageDataset(Dataset[tuple[Tensor, int]]):
    """(image (C, H, W) float32, normalised; class) pairs, as torchvision's datasets give them.

    Args:
        source: the folder of `dfq synthesize --out`, a run folder, or `StoredImages`. Images without labels have
            class −1.
    """

    def __init__(self, source: ImageSource):
        stored = read_images(source)
        self._images, self._labels = stored.normalized(), stored.labels

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._images[index], NO_LABEL if self._labels is None else int(self._labels[index])
