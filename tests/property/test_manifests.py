"""Whatever a DAG is called and asks for: names fit, objects hold, the same input gives the same bytes."""

import io
import string
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pipeline.executors.kubernetes.manifest.names import label_value, slug, stage_names
from pipeline.executors.kubernetes.manifest.order import make_order
from pipeline.executors.kubernetes.manifest.stages import stage_objects
from pipeline.executors.kubernetes.manifest.text import to_yaml
from pipeline.spec.cluster import ClusterSettings, Volume
from tests.jobs import job_of
from tests.manifests import DNS_LABEL, LABEL_VALUE, check

DAG_NAMES = st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=255)
ADDRESSES = st.text(min_size=1, max_size=120).filter(lambda text: "\x00" not in text)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)


@st.composite
def jobs(draw: st.DrawFn) -> dict[str, Any]:
    launch = draw(st.sampled_from(["gang", "workers", "process"]))
    return {
        "launch": launch,
        "pipeline": draw(DAG_NAMES),
        "stage": draw(ADDRESSES.filter(lambda text: text.encode("utf-8", "ignore") != b"")),
        "run": draw(st.sampled_from(["by-hand", "20261125-135253-pfdd"])),
        "plan_key": draw(st.text("0123456789abcdef", min_size=64, max_size=64)),
        "nodes": draw(st.integers(1, 2000)) if launch == "gang" else 1,
        "processes_per_node": draw(st.integers(1, 16)),
        "gpus_per_node": draw(st.sampled_from([0, 1, 8])),
        "attempt": draw(st.integers(1, 999)),
        "config": draw(st.dictionaries(st.text("abc", min_size=1), JSON, max_size=3)),
    }


@given(jobs(), st.sampled_from(["jobset", "job"]))
@settings(max_examples=40, deadline=None)
def test_objects_of_any_stage_hold_and_are_the_same_each_time(
    fields: dict[str, Any], gang: Any
) -> None:
    cluster = ClusterSettings(image="i", gang=gang, volumes={"v": Volume(claim="c")})

    def render() -> list[dict[str, Any]]:
        return stage_objects(make_order(job_of(**fields), cluster, environ={}), cluster)

    objects = render()
    for one in objects:
        check(one)
    assert to_yaml(objects) == to_yaml(render())


@given(DAG_NAMES, DAG_NAMES, st.integers(1, 10**6))
def test_names_of_two_stages_or_dags_differ(one: str, other: str, attempt: int) -> None:
    fields = {"plan_key": "a" * 64, "attempt": attempt}
    names = {
        stage_names(job_of(pipeline=dag, stage=stage, **fields)).name
        for dag in {one, other}
        for stage in ("a", "b")
    }
    assert len(names) == 2 * len({one, other})


@given(st.text(), st.integers(1, 40))
def test_slug_is_a_dns_label_or_nothing(text: str, limit: int) -> None:
    found = slug(text, limit)
    assert len(found) <= limit
    assert not found or DNS_LABEL.fullmatch(found)


@given(st.text())
def test_label_value_is_one_whatever_the_text(text: str) -> None:
    assert LABEL_VALUE.fullmatch(label_value(text))


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), JSON, min_size=1, max_size=5
    )
)
@settings(max_examples=100, deadline=None)
def test_yaml_says_what_it_was_given(value: dict[str, Any]) -> None:
    assert YAML(typ="safe", pure=True).load(io.StringIO(to_yaml([value]))) == value
