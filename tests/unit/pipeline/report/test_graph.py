from pipeline.report.graph import anchor, draw
from pipeline.runner.state import StageStatus
from tests.report import stage, state


def test_many_cells_are_one_box_with_the_worst_state() -> None:
    cells = [stage(f"cell[k={n}]", ["data"]) for n in range(6)]
    cells[3].status = StageStatus.FAILED
    drawing = draw(state(stage("data"), *cells, stage("last", [c.address for c in cells])))
    assert [box.name for box in drawing.boxes] == ["data", "cell", "last"]
    assert drawing.boxes[1].status == "failed"
    assert drawing.boxes[1].is_stack
    assert drawing.boxes[1].detail == "5 of 6 there"
    assert len(drawing.paths) == 2


def test_few_cells_are_boxes_of_their_own() -> None:
    drawing = draw(state(stage("cell[k=1]"), stage("cell[k=2]")))
    assert [box.name for box in drawing.boxes] == ["cell[k=1]", "cell[k=2]"]


def test_cells_of_a_driver_are_in_its_box() -> None:
    drawing = draw(state(stage("search"), stage("search/1", driver="search")))
    assert [box.name for box in drawing.boxes] == ["search"]


def test_boxes_that_feed_each_other_are_drawn_all_the_same() -> None:
    ones = [stage(f"one[k={n}]", [f"two[k={n - 1}]"] if n else []) for n in range(6)]
    twos = [stage(f"two[k={n}]", [f"one[k={n}]"]) for n in range(6)]
    drawing = draw(state(*(s for pair in zip(ones, twos, strict=True) for s in pair)))
    assert len(drawing.boxes) == 2
    assert len(drawing.paths) == 1


def test_anchor_is_plain_and_tells_addresses_apart() -> None:
    assert anchor('a[k="<x>"]').replace("-", "").replace("_", "").isalnum()
    assert anchor("a[k=1]") != anchor("a[k_1]")
