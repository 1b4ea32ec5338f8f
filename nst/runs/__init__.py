"""Run and sweep directories: their records, and who writes, reads and finds them."""
