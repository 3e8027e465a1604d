"""YAML 1.2 core schema, positions, and what is refused."""

from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.spec.scalars import Scalar, resolve_scalar, scalar_text
from pipeline.spec.yaml_reader import MAX_BYTES, read_file, read_yaml


def _read(text: str) -> tuple[object, list[str]]:
    node, problems = read_yaml(text, layer="file", file="f.yaml")
    return node.plain(), [str(problem) for problem in problems]


def _refused(text: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        read_yaml(text, layer="file", file="f.yaml")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("no", "no"),
        ("y", "y"),
        ("NO", "NO"),
        ("true", True),
        ("TRUE", True),
        ("False", False),
        ("tRUE", "tRUE"),
        ("null", None),
        ("~", None),
        ("", None),
        ("nil", "nil"),
        ("1e-4", 0.0001),
        ("1E5", 100000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("+7", 7),
        ("-0", 0),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("190:20:30", "190:20:30"),
        ("2024-01-01", "2024-01-01"),
        ("1.2.3", "1.2.3"),
        ("-", "-"),
        (".", "."),
        ("e5", "e5"),
        ("=", "="),
    ],
)
def test_resolve_scalar_follows_the_core_schema(text: str, value: Scalar) -> None:
    found = resolve_scalar(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("text", [".inf", "-.INF", ".nan", "1e999", "9223372036854775808"])
def test_resolve_scalar_refuses_what_json_cannot_hold(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a finite number|is beyond 64 bits"):
        resolve_scalar(text)


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), (None, "null"), (17, "17"), (1e-4, "0.0001"), ("a", "a")]
)
def test_scalar_text_spells_as_yaml(value: Scalar, text: str) -> None:
    assert scalar_text(value) == text


def test_read_yaml_quoted_scalar_stays_text() -> None:
    assert _read("a: '1'\nb: \"true\"\nc: |\n  1\n")[0] == {"a": "1", "b": "true", "c": "1\n"}


def test_read_yaml_knows_where_keys_and_values_stand() -> None:
    root, _ = read_yaml("a:\n  bc: [1,\n    x]\n", layer="file", file="f.yaml")
    node, missing = root.find(("a", "bc", 1))
    assert missing == ()
    assert (node.origin.line, node.origin.column) == (3, 5)
    key = root.find(("a", "bc"))[0].key
    assert key is not None
    assert (key.file, key.line, key.column) == ("f.yaml", 2, 3)


def test_read_yaml_value_left_out_stands_at_its_key() -> None:
    root, _ = read_yaml("a:\n\n\nb: 1\n", layer="file", file="f.yaml")
    assert root.entries["a"].origin.line == 1


def test_read_yaml_alias_shares_the_value() -> None:
    assert _read("a: &x [1, 2]\nb: *x\n") == ({"a": [1, 2], "b": [1, 2]}, [])


def test_read_yaml_reports_all_that_is_not_core() -> None:
    text = "a: !!python/object:os.system x\nb: !!int '3'\n<<: {c: 1}\n1: x\ntrue: y\na: z\n"
    text += "? [k]\n: 1\n&k d: .inf\n"
    assert _read(text)[1] == [
        (
            "f.yaml:1:4: a: the tag tag:yaml.org,2002:python/object:os.system is not read. "
            "Write the plain value; quotes make a text."
        ),
        (
            "f.yaml:2:4: b: the tag tag:yaml.org,2002:int is not read. "
            "Write the plain value; quotes make a text."
        ),
        "f.yaml:3:1: merge keys (<<) are not in YAML 1.2. Repeat the keys, or put them into params.",
        'f.yaml:4:1: 1: a key must be a text. Quote it: "1".',
        'f.yaml:5:1: true: a key must be a text. Quote it: "true".',
        "f.yaml:6:1: a: the key stands twice; first in line 1. Remove one of them.",
        "f.yaml:7:3: a key must be a text.",
        "f.yaml:9:1: a key takes no tag and no anchor. Remove it.",
        (
            "f.yaml:9:7: d: .inf is not a finite number; leave the value out, or quote it to make it "
            "a text."
        ),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.yaml:1:1: the file is empty. A DAG needs `name` and `stages`."),
        ("a: 1\n---\nb: 1\n", "f.yaml:2:1: a second document begins. One file is one DAG."),
        ("%YAML 1.1\n---\na: on\n", "f.yaml:2:1: only YAML 1.2 is read. Remove the %YAML line."),
        ("a: *x\n", "f.yaml:1:4: a: the alias *x has no anchor."),
        ("a: &x [*x]\n", "f.yaml:1:8: a.0: the alias *x stands inside itself."),
        ("[" * 70, "f.yaml:1:66: nested deeper than 64 levels."),
        ("a: b: c\n", "f.yaml:1:5: YAML syntax: mapping values are not allowed here."),
        (
            "a: \x00\n",
            (
                "f.yaml: YAML syntax: unacceptable character #x0000: special characters are not "
                "allowed."
            ),
        ),
    ],
)
def test_read_yaml_refuses_the_file(text: str, message: str) -> None:
    assert _refused(text) == [message]


def test_read_yaml_refuses_half_a_surrogate_pair() -> None:
    assert _read('a: "\\ud800"\n"\\udfff": 1\n')[1] == [
        "f.yaml:1:4: a: half a surrogate pair is no character.",
        "f.yaml:2:1: half a surrogate pair is no character.",
    ]


def test_read_yaml_problem_is_one_printable_line() -> None:
    assert _read('"a\\n\\e[31mb": 1\n"a\\n\\e[31mb": 2\n')[1] == [
        "f.yaml:2:1: a\\n\\x1b[31mb: the key stands twice; first in line 1. Remove one of them."
    ]


def test_read_yaml_alias_bomb_is_not_expanded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 40)]
    assert _refused("\n".join(lines)) == [
        (
            "f.yaml:5:45: a4.7: more than 100000 values, aliases expanded. "
            "Use params instead of aliases."
        )
    ]


def test_read_yaml_aliases_cannot_nest_deeper_than_text() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 100)]
    (message,) = _refused("\n".join(lines))
    assert message.endswith("nested deeper than 64 levels.")


def test_read_file_refuses_one_too_large(tmp_path: Path) -> None:
    (tmp_path / "big.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(UserError, match=r"big\.yaml: is larger than 1 MiB\."):
        read_file(tmp_path / "big.yaml")


def test_read_file_leaves_a_byte_order_mark_out(tmp_path: Path) -> None:
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_file(tmp_path / "bom.yaml") == "a: 1\n"
