"""From resolved cells to finished run directories: plan, batches, executors."""
