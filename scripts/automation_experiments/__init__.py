"""The experiments that show what each automation brings; `scripts/benchmark_automations.py` runs them."""
