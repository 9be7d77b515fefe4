"""`take_labels` reads labelled images for a teacher, which only a classifier has a use for."""

from dfq.images.labelled import Labelled
from dfq.images.labelled_data import LabelledData, take_labelled
from dfq.teacher import Teacher


def take_labels(data: LabelledData, teacher: Teacher) -> Labelled | None:
    """Returns labelled images of the teacher's input size; None where `data` is None.

    Raises:
        DfqError: The images or labels do not fit the network, or it is no classifier.
    """
    if data is not None:
        teacher.check_classifier(
            "labelled images", "they are compared with its answers", "pass the images without labels: --pictures FOLDER"
        )
    return take_labelled(data, teacher.input_spec, teacher.num_classes)
