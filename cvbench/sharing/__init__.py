"""What leaves the machine: bundles that prove themselves, a leaderboard made of them, cards, and the way to the hub."""
