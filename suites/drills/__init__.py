"""Drills: every known defect, injected, must turn a check red. The catalogue is declared here, by family."""
