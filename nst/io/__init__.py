"""Files, locks, signals, images, videos and weights: what comes from and goes to the machine."""
