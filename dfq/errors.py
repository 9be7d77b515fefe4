"""The one error that a user sees: it says what was found, what is needed, and the way out."""

LONGEST = 2000  # number of characters of a text that are shown
FIRST_WIDE_SPACE = 0xA0  # The spaces below are control characters, except the plain one.


def printable(text: str) -> str:
    """Returns a text that a terminal can show: names in files may be a megabyte long, or hold control sequences."""
    short = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return "".join(
        each
        if each.isprintable() or (each.isspace() and ord(each) >= FIRST_WIDE_SPACE) or each == "\n"
        else each.encode("unicode_escape").decode()
        for each in short
    )


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
        self.found, self.needed, self.way_out = (printable(part) for part in (found, needed, way_out))
        self.exit_code = exit_code
        parts = [f"found: {self.found}"]
        parts += [f"needed: {self.needed}"] if needed else []
        parts += [f"way out: {self.way_out}"] if way_out else []
        super().__init__("\n".join(parts))

    def to_dict(self) -> dict[str, str | int]:
        """Returns the parts as an object for programs (`--json`)."""
        return {"found": self.found, "needed": self.needed, "way_out": self.way_out, "exit_code": self.exit_code}
