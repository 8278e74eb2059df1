"""What is measured, against whom. Results stand in `results/`."""
