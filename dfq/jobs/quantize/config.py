"""What `config.json` of a run says; a resumed run must have it in common with the killed one."""

from dfq.jobs.quantize.settings import Settings
from dfq.jobs.quantize.source import file_digest
from dfq.results.run_folder import FORMAT
from dfq.system.content_hash import digest_of
from dfq.teacher import Teacher


def config_of(teacher: Teacher, settings: Settings) -> dict:
    """Returns what a run is of: the network by its digest, and the settings."""
    return {
        "format": FORMAT,
        "arch": teacher.arch,
        "num_classes": teacher.width,
        "is_classifier": teacher.is_classifier,
        "outputs": [output.to_dict() for output in teacher.outputs],
        "network": digest_of(teacher.model),
        "source": file_digest(teacher.arch),
        "input_spec": teacher.input_spec.to_dict(),
        "file_interface": teacher.interface.to_dict(),
        "scheme": settings.make_scheme().to_dict(),
        "settings": settings.to_dict(),
    }
