"""The experiments that show what each automation brings; `benchmark_automations.py` runs them."""
