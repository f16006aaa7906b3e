"""Networks that think in cycles, rules for when to stop, and the agent that plays the environments with them."""
