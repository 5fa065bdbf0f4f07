"""End-to-end accuracy: questions, answers, and the statistics that judge them."""
