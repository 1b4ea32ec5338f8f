"""From a run directory to MLflow."""
