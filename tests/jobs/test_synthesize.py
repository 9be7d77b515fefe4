"""Images without a student: those that other toolkits calibrate on."""

import pytest
from support.small_nets import small_teacher

from dfq.calibration import METHODS
from dfq.jobs.quantize.settings import Settings
from dfq.jobs.synthesize import SYNTHESIZES_BY_DEFAULT, make_images


@pytest.mark.parametrize("method, expected", [("auto", SYNTHESIZES_BY_DEFAULT), ("instant", "instant")])
def test_auto_makes_whole_images_and_not_the_sketches_of_instant(method, expected, monkeypatch):
    taken = []

    def spy(settings, *_):
        taken.append(settings.chosen_method)
        return NoImages()

    monkeypatch.setattr(Settings, "make_synthesizer", spy)
    make_images(small_teacher(), Settings(method=method))
    assert taken == [METHODS[expected]] and NoImages.asked == (METHODS[expected].images or 256)


class NoImages:
    """Remembers how many images were asked for."""

    asked, notes = 0, ()

    def sample(self, count):
        NoImages.asked = count
