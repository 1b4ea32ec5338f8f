"""Studies: a claim, the cells that it is judged by, and the verdict."""
