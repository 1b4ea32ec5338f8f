"""The launchers and sweepers of this project, as Hydra finds them."""
