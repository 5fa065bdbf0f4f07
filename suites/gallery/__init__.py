"""Known defects as a reviewer would meet them: two runs each, before and after, their page and their diff."""
