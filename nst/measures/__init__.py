"""Numbers of a run that claims are about, each a small registered function: `docs/measures.md`."""

from nst.measures import canvas, losses, pareto  # noqa: F401 - which make themselves known
from nst.measures.measure import MEASURES, Measure, measure, register

__all__ = ["MEASURES", "Measure", "measure", "register"]
