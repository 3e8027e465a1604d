"""References: types, escapes, circles, secrets, and bounds on what they may grow to."""

from collections.abc import Mapping

import pytest

from pipeline.spec.interpolation import Interpolator
from pipeline.spec.tree import Node
from pipeline.spec.yaml_reader import read_yaml


def _tree(text: str) -> Node:
    return read_yaml(text, layer="file", file="f.yaml")[0]


def _interpolator(
    params: str = "{}", environ: Mapping[str, str] | None = None, *, keep: bool = False
) -> Interpolator:
    return Interpolator(_tree(params).entries, environ or {}, keep=keep)


@pytest.mark.parametrize(
    "value", ["17", "1.5", "true", "null", "text", "[1, [2]]", "{a: {b: 1}}", "''"]
)
def test_replace_whole_reference_keeps_the_type(value: str) -> None:
    node, _ = _interpolator(f"x: {value}").replace_in(_tree("a: ${params.x}"), ())
    assert node.plain() == {"a": _tree(value).plain()}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a${params.n}b", "a17b"),
        ("${params.n}${params.n}", "1717"),
        ("${params.t}/x", "true/x"),
        ("${params.f}x", "0.0001x"),
        ("${params.m.k}", 3),
        ("${params.l.1}", "q"),
        ("$${params.n}", "${params.n}"),
        ("$$${params.n}", "$${params.n}"),
        ("$${params.n} ${params.n}", "${params.n} 17"),
        ("$17 $ {x}", "$17 $ {x}"),
        ("${params.deep}", "<a17b>"),
        ("${params.esc}", "${not a reference}"),
    ],
)
def test_replace_text(text: str, value: object) -> None:
    params = "{n: 17, t: true, f: 1e-4, m: {k: 3}, l: [p, q], ab: 'a${params.n}b', "
    params += "deep: '<${params.ab}>', esc: '$${not a reference}'}"
    interpolator = _interpolator(params)
    node, _ = interpolator.replace_in(Node(text, _tree("a").origin), ())
    assert (node.plain(), interpolator.problems) == (value, [])


def test_replace_variable_is_always_text() -> None:
    node, _ = _interpolator(environ={"N": "17"}).replace_in(_tree("a: ${env.N}"), ())
    assert node.plain() == {"a": "17"}


def test_replace_does_not_read_references_in_the_environment() -> None:
    interpolator = _interpolator("x: 1", {"N": "${params.x}"})
    node, _ = interpolator.replace_in(_tree("a: <${env.N}>"), ())
    assert node.plain() == {"a": "<${params.x}>"}


def test_replace_remembers_which_variables_are_in_a_value() -> None:
    interpolator = _interpolator("p: 'x${env.A}'", {"A": "secret", "B": "other"})
    node, _ = interpolator.replace_in(_tree("a: '${params.p}-${env.B}'\nb: ${params.p}"), ())
    assert node.entries["a"].origin.environment == ("A", "B")
    assert node.entries["b"].origin.environment == ("A",)


@pytest.mark.parametrize("text", ["${params.p}", "<${params.p}>", "${env.A}"])
def test_shown_never_holds_what_the_environment_holds(text: str) -> None:
    interpolator = _interpolator("p: 'x${env.A}'", {"A": "secret"})
    node, _ = interpolator.replace_in(_tree(f"a: ['{text}']"), ())
    assert "secret" in str(node.plain())
    assert "secret" not in node.shown()


def test_replace_keep_leaves_references_of_the_outside() -> None:
    interpolator = _interpolator("{n: 17, p: 'x${env.A}'}", {"A": "secret"}, keep=True)
    tree = _tree("a: '${params.p}-${params.n}'\nb: ${env.A}\nc: 's${matrix.seed}'\nd: $${x}")
    node, _ = interpolator.replace_in(tree, ())
    assert node.plain() == {
        "a": "x${env.A}-17",
        "b": "${env.A}",
        "c": "s${matrix.seed}",
        "d": "$${x}",
    }


def test_replace_reports_the_axes_that_were_used() -> None:
    axes = {"seed": _tree("3"), "lr": _tree("0.1")}
    node, used = _interpolator().replace_in(_tree("a: ${matrix.seed}"), (), axes=axes)
    assert (node.plain(), used) == ({"a": 3}, {"seed"})


def test_replace_value_of_a_param_stands_where_the_param_stands() -> None:
    node, _ = _interpolator("x: 1\ny: 2").replace_in(_tree("\n\n\na: ${params.y}"), ())
    assert node.entries["a"].origin.line == 2
    assert node.entries["a"].place.line == 4


def test_params_in_a_circle_are_reported_once_each_round() -> None:
    interpolator = _interpolator("{a: '${params.b}', b: '${params.c}', c: '${params.a}'}")
    interpolator.params()
    assert [problem.message for problem in interpolator.problems] == [
        "refers to itself: a -> b -> c -> a"
    ]


def test_params_that_multiply_texts_are_stopped() -> None:
    params = "\n".join([f"p{n}: '${{params.p{n - 1}}}${{params.p{n - 1}}}'" for n in range(1, 31)])
    interpolator = _interpolator(f"p0: 0123456789\n{params}")
    interpolator.params()
    assert {problem.message for problem in interpolator.problems} == {
        "becomes longer than 65536 characters"
    }


def test_params_that_multiply_lists_are_stopped() -> None:
    ten = ", ".join(["'${params.pN}'"] * 10)
    rows = [f"p{n}: [{ten.replace('N', str(n - 1))}]" for n in range(1, 31)]
    interpolator = _interpolator("p0: [1]\n" + "\n".join(rows))
    interpolator.params()
    assert interpolator.problems[0].message == (
        "${params.p5} brings in too much: 100000 values are the limit"
    )


def test_params_that_nest_are_stopped() -> None:
    rows = [f"p{n}: [[[[[[[[[['${{params.p{n - 1}}}']]]]]]]]]]" for n in range(1, 20)]
    interpolator = _interpolator("p0: 1\n" + "\n".join(rows))
    interpolator.params()
    assert "brings in too much" in interpolator.problems[0].message


def test_params_in_a_long_chain_are_stopped() -> None:
    rows = [f"p{n}: '${{params.p{n + 1}}}'" for n in range(2000)]
    interpolator = _interpolator("\n".join([*rows, "p2000: 1"]))
    interpolator.params()
    assert "more than 32 params refer to one another" in interpolator.problems[0].message
