"""The table at the end of a run: what each automation watched, did, and would have done."""

from io import StringIO

import pytest
from rich.console import Console

from traiNNer.automations import Automation, Limits, Supervisor
from traiNNer.tracking.automation_table import NOTHING, automation_rows, automation_table


class Quiet(Automation[None]):
    name, watches, state = "Quiet", "the weather", None

    def observe(self, event):
        if event == "bad":
            raise ArithmeticError("hail")

    def decide(self, controls):
        return []

    def fallback(self, controls):
        return []


def decided(at, old, new, *, applied=True, parameter="lr_factor"):
    return {
        "automation": "Quiet",
        "iter": at,
        "parameter": parameter,
        "old": old,
        "new": new,
        "applied": applied,
    }


def row(decisions, **limits):
    return automation_rows(Supervisor({"Quiet": Quiet()}, {"Quiet": Limits(**limits)}), decisions)[0]


def test_an_automation_without_a_decision_had_nothing_to_do():
    assert row([]) == ("Quiet", "the weather", NOTHING, "")
    assert row([], monitor_only=True) == ("Quiet", "the weather", "monitors only", NOTHING)


def test_changes_are_counted_by_parameter_from_the_first_to_the_last():
    found = row([decided(10, 1.0, 0.8), decided(2000, 0.8, 0.64), decided(30, "8", "4", parameter="batch")])
    assert found.did == "lr_factor 1 -> 0.64 (2 changes, last at 2,000); batch 8 -> 4 (at 30)"


def test_a_trial_reads_as_something_tried_and_not_as_a_change():
    trial = decided(0, "0.002", "0.008", parameter="trial")
    assert row([trial]).did == "tried 0.008 against 0.002 (at 0)"
    assert row([decided(0, "0.1 rising", "", parameter="trial")]).did == "tried 0.1 rising (at 0)"
    again = decided(500, "x1", "x0.5, x0.25", parameter="trial")
    found = row([trial, again, decided(600, 1.0, 0.5)]).did
    assert found == "tried x0.5, x0.25 against x1 (at 500, 2 trials); lr_factor 1 -> 0.5 (at 600)"


def test_what_was_asked_of_another_is_not_told_as_done():
    asked = [decided(at, "", "x0.5") for at in (4210, 5000)]
    assert row(asked[:1]).did == "asked for lr_factor x0.5 (at 4,210)"
    assert row(asked).did == "asked for lr_factor x0.5 (2 requests, last at 5,000)"


def test_what_one_that_monitors_would_have_done_stands_apart():
    found = row([decided(10, 1.0, 0.5, applied=False)], monitor_only=True)
    assert found.did == "monitors only"
    assert found.would_have_done == "lr_factor 1 -> 0.5 (at 10)"


def test_one_that_failed_says_so():
    supervisor = Supervisor({"Quiet": Quiet()})
    supervisor.react("bad", None)
    assert automation_rows(supervisor, [])[0].did == "nothing; off (ArithmeticError: hail)"


@pytest.mark.parametrize("monitor_only", [False, True])
def test_the_last_column_is_shown_where_one_monitors(monitor_only):
    printed = StringIO()
    table = automation_table([row([], monitor_only=monitor_only)])
    Console(file=printed, width=120).print(table)
    assert ("would have done" in printed.getvalue()) == monitor_only
