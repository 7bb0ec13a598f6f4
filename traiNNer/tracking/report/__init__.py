"""`report.html`: a run on one page that needs nothing else."""
