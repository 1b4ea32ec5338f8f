"""What there is to look at: contact sheets, curves, Pareto fronts, the page."""
