"""A run whose loss is no number says so, and which loss it is."""

import pytest
import small_run


@pytest.mark.parametrize("rate", [1e-3, 1e30])
def test_the_log_names_losses_that_are_not_finite(tmp_path, rate):
    small_run.write_data(tmp_path)
    optimizer = {"type": "AdamW", "lr": rate}
    tree = small_run.options(tmp_path, total_iter=10, optim_g=optimizer)
    done = small_run.train(small_run.write_options(tmp_path, tree))
    assert done.returncode == (1 if rate > 1 else 0)
    warning = "Iteration 10: loss not finite (l1, mssim, total); 5 of the last 5 steps were skipped"
    assert (warning in done.stdout) == (rate > 1)
    assert ("not finite" in done.stdout) == (rate > 1)
