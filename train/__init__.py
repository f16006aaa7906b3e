"""Training on the device: data, losses, optimisers, the slot loop, evaluation."""
