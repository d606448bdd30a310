"""Learning: samples, augmentation, simulated clicks, losses, the loop, its state."""
