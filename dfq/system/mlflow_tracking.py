"""`MLflow` keeps the settings, losses and results of a job as a run of MLflow, which is an extra of dfq."""

import re
import time
from collections.abc import Mapping
from typing import Any

from dfq.errors import DfqError
from dfq.system.callbacks import Callback, results_of

UNUSABLE = re.compile(r"[^\w\-./ ]")  # characters that names of metrics cannot have
LONGEST = 500  # number of characters of a parameter


class MLflow(Callback):
    """Starts a run of MLflow with the job and ends it with the job; a job that fails is a failed run.

    Args:
        experiment: Name of the experiment; None: the one that MLflow is set to.
        every_seconds: Shortest time in seconds between two records of a stage's losses, since each may be a request to
            a server. The server is the one that MLflow is set to (`MLFLOW_TRACKING_URI`).

    Raises:
        DfqError: MLflow is not installed.
    """

    def __init__(self, experiment: str | None = None, *, every_seconds: float = 1.0):
        try:
            import mlflow
        except ImportError as error:
            raise DfqError(
                f"MLflow cannot be imported: {error}",
                "the extra mlflow",
                'pip install "dfq-toolkit[mlflow]"',
                exit_code=1,
            ) from error
        self._mlflow: Any = mlflow
        self._experiment, self._every_seconds = experiment, every_seconds
        self._told: dict[str, float] = {}
        self._part: str | None = None

    def part(self, name: str) -> "MLflow":
        """Returns a callback whose run is a child of this one's."""
        child = MLflow(every_seconds=self._every_seconds)
        child._part = name
        return child

    def on_start(self, settings: Mapping) -> None:
        if self._experiment is not None:
            self._mlflow.set_experiment(self._experiment)
        self._mlflow.start_run(run_name=self._part, nested=self._part is not None)
        self._mlflow.log_params({name: str(value)[:LONGEST] for name, value in settings.items()})

    def on_figures(self, stage: str, step: int, figures: Mapping[str, float]) -> None:
        now = time.monotonic()
        if now - self._told.get(stage, -self._every_seconds) >= self._every_seconds:
            self._told[stage] = now
            self._mlflow.log_metrics({_metric(f"{stage}/{name}"): value for name, value in figures.items()}, step=step)

    def on_end(self, report: Mapping | None) -> None:
        if report is not None:
            self._mlflow.log_metrics({_metric(f"results/{name}"): value for name, value in results_of(report).items()})
            self._mlflow.log_dict(dict(report), "report.json")
        self._mlflow.end_run("FINISHED" if report is not None else "FAILED")


def _metric(name: str) -> str:
    """Returns a name that MLflow takes."""
    return UNUSABLE.sub("-", name)
