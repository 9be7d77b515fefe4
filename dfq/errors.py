"""The one error that a user sees: it says what was found, what is needed, and the way out."""


class DfqError(Exception):
    """An input or an environment that dfq cannot work with.

    The command line prints the three parts and exits with `exit_code`. From Python, the message holds all of them.

    Args:
        found: What dfq found ("'model.pt' is empty (0 bytes)").
        needed: What it needs instead ("a checkpoint: a dict with 'arch' and 'state_dict', …").
        way_out: What the user can do now ("pass --arch torchvision/resnet18").
        exit_code: 1 for a failure at work (disk, unsupported operator), 2 for wrong usage or bad input.
    """

    def __init__(self, found: str, needed: str = "", way_out: str = "", *, exit_code: int = 2):
        self.found, self.needed, self.way_out, self.exit_code = found, needed, way_out, exit_code
        parts = [f"found: {found}"]
        parts += [f"needed: {needed}"] if needed else []
        parts += [f"way out: {way_out}"] if way_out else []
        super().__init__("\n".join(parts))
