"""Measures for the tests of studies, of a run's final total loss."""

import math

from nst.runs.reader import Run


def contrary(run: Run) -> float:
    """The less, the higher it was."""
    return -run.record.total


def distance(run: Run, other: Run) -> float:
    """The same both ways."""
    return abs(run.record.total - other.record.total)


def endless(run: Run) -> float:
    """Infinite, where it is 17 or more."""
    return math.inf if run.record.total >= 17 else run.record.total
