"""Who paints the batches of a sweep: this process, one process a device, or the workers of a cluster."""
