"""A figure of several seeds as the tables show it."""

import numpy as np


def spread(values: list[float], digits: int) -> str:
    """Returns the mean and the standard deviation, as "90.1 ± 0.3", or the value alone where there is one."""
    mean = f"{np.mean(values):.{digits}f}"
    return f"{mean} ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else mean
