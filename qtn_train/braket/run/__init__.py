"""Programs, tasks, results, and the journal of what was asked, paid for and counted."""
