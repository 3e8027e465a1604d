from pipeline.errors import NEVER_RETRIED, Problem, UserError, WorkerExit, plain_text


def test_problem_prints_place_path_cause_and_fix_in_that_order() -> None:
    problem = Problem("dag.yaml", 14, 7, "stages.a.with.x", "unknown field", "Did you mean y?")
    assert str(problem) == "dag.yaml:14:7: stages.a.with.x: unknown field. Did you mean y?"


def test_problem_without_position_leaves_it_out() -> None:
    assert str(Problem("", 0, 0, "", "the store is full")) == "the store is full."


def test_user_error_holds_each_problem_once_in_file_order() -> None:
    late = Problem("dag.yaml", 9, 1, "b", "wrong")
    early = Problem("dag.yaml", 2, 1, "a", "wrong")
    error = UserError([late, early, late])
    assert error.problems == (early, late)
    assert str(error).splitlines()[0].startswith("dag.yaml:2:1")


def test_preemption_and_crashes_are_retried_and_the_rest_is_not() -> None:
    assert WorkerExit.PREEMPTED not in NEVER_RETRIED
    assert {64, 65, 66, 70, 73, 76, 78} == {int(code) for code in NEVER_RETRIED}


def test_plain_text_escapes_half_characters() -> None:
    assert plain_text("a\udcff.txt \u00e4") == "a\\udcff.txt \u00e4"


def test_plain_text_cuts_the_middle_and_says_how_much() -> None:
    text = plain_text("a" * 50 + "b" * 10**6 + "c" * 50, 100)
    assert text == "a" * 50 + " [... 1000000 characters ...] " + "c" * 50
