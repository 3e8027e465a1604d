"""What an error suggests."""

from pipeline.spec.suggest import MAX_LISTED, did_you_mean


def test_did_you_mean_names_the_nearest_and_lists_all_sorted() -> None:
    text = did_you_mean("seq_length", ["seq_len", "d_model"], "Fields")
    assert text == "Did you mean seq_len? Fields: d_model, seq_len."


def test_did_you_mean_without_anything_near_lists_only() -> None:
    assert did_you_mean("zzz", ["seq_len"], "Fields") == "Fields: seq_len."
    assert did_you_mean("zzz", [], "Params") == "Params: none."


def test_did_you_mean_of_many_says_how_many_are_left_out() -> None:
    names = [f"stage{n:03}" for n in range(MAX_LISTED + 2)]
    assert did_you_mean("zzz", names, "Stages").endswith("stage039 and 2 more.")
