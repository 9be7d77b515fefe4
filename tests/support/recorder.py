"""A callback that remembers what it hears."""

import dfq


class Recorder(dfq.Callback):
    """Keeps in `heard` a tuple for each call, in order."""

    def __init__(self):
        self.heard = []

    def on_start(self, settings):
        self.heard.append(("start", dict(settings)))

    def on_figures(self, stage, step, figures):
        self.heard.append((stage, step, figures))

    def on_note(self, message):
        self.heard.append(("note", message))

    def on_end(self, report):
        self.heard.append(("end", report))
