"""Tells when the machine computes as it should: two threads do about twice the work of one.

Virtual cores of a shared machine sometimes are the two hyper-threads of one physical core, for seconds or minutes. Then
everything on two threads takes 1.3 to 2 times as long, integer kernels more than float ones, and a ratio of latencies
says more about the machine than about the files. So whoever measures asks a `Probe` before and after. The probe knows
nothing of what is measured.
"""

import subprocess
import sys
import time

import numpy as np

MIN_SCALING = 0.85  # what each of two processes must achieve at once, as a share of what one achieves alone
SECONDS = 0.05  # for each answer


class Probe:
    """Two processes that multiply small matrices when asked."""

    def __init__(self):
        self.pair = [self._start() for _ in range(2)]

    @staticmethod
    def _start() -> subprocess.Popen:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        return subprocess.Popen([sys.executable, "-m", "benchmarks.latency.calm"], text=True, env=one_thread, **pipes)

    def scaling(self) -> float:
        """Returns what each of both processes achieves at once, as a share of what one achieves alone; 1 is ideal."""
        (alone,) = self._ask(self.pair[:1])
        return min(self._ask(self.pair)) / alone

    @staticmethod
    def _ask(processes: list[subprocess.Popen]) -> list[int]:
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        return [int(process.stdout.readline()) for process in processes]

    def close(self) -> None:
        """Ends both processes."""
        for process in self.pair:
            process.stdin.close()
            process.wait()


def multiply() -> None:
    """Answers each line on standard input with the number of products within `SECONDS`."""
    matrix = np.random.default_rng(0).standard_normal((192, 192)).astype(np.float32)
    for _ in sys.stdin:
        count, end = 0, time.perf_counter() + SECONDS
        while time.perf_counter() < end:
            matrix @ matrix
            count += 1
        print(count, flush=True)


if __name__ == "__main__":
    multiply()
