"""A laboratory for optimisation-based neural style transfer."""
