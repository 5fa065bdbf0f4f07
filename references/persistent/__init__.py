"""References of the persistent schedule: what a plan must be, and what executing it must give."""
