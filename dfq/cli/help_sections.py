"""The sections of `--help`, and an example of each option that takes a value."""

from click import Option

# The section → the options in it → the value that `--help` shows as an example; None for options without a value.
# An option stands in one section, whichever command has it.
SECTIONS: dict[str, dict[str, str | None]] = {
    "What is made": {
        "bits": "4",
        "weight-bits": "4",
        "activation-bits": "8",
        "average-bits": "4.5",
        "target-size": "1.2MB",
        "target-bops": "1.2G",
        "scheme": "paper-qat",
        "target": "openvino",
        "layer-bits": "conv1=8",
        "student": "dfq/resnet20",
        "start": "random",
    },
    "How it is made": {
        "methods": "zeroq,rgal",
        "job": "distill",
        "method": "zeroq-kd",
        "strategy": "rgal",
        "ranges": "percentile",
        "flip": None,
        "images": "512",
        "steps": "600",
        "learning-rate": "0.001",
        "batch-size": "32",
        "budget": "5m",
        "seed": "1",
        "seeds": "5",
    },
    "What is read and written": {
        "config": "run.toml",
        "out": "new/",
        "resume": None,
        "overwrite": None,
        "data": "test.npz",
        "pictures": "photos/",
        "onnx": "camera.onnx",
    },
    "How the network is read": {
        "arch": "torchvision/resnet18",
        "input-size": "3x32x32",
        "mean": "0.5,0.5,0.5",
        "std": "0.25",
        "weights": "model_ema",
        "no-classes": None,
        "allow-pickle": None,
        "allow-float-ops": None,
    },
    "What is checked": {"strict": None, "engine": "openvino", "performance": None},
    "Machine and messages": {
        "device": "cuda",
        "devices": "2",
        "threads": "4",
        "log": "tensorboard",
        "json": None,
        "quiet": None,
        "help": None,
    },
}


def section_of(option: Option) -> str:
    """Returns the section of `--help` in which an option stands."""
    return next(section for section, options in SECTIONS.items() if _word(option) in options)


def example_of(option: Option) -> str:
    """Returns an example such as "--bits 4"; empty for an option that takes no value."""
    value = SECTIONS[section_of(option)][_word(option)]
    return "" if value is None else f"--{_word(option)} {value}"


def _word(option: Option) -> str:
    """Returns how an option is typed, without hyphens; the name of `--help` differs between versions of click."""
    return option.opts[-1].lstrip("-")
