"""The report in a browser: whole, silent, and asking nobody for anything."""

import re
from pathlib import Path

import pytest

from tests.chromium import Browser
from tests.integration.report.conftest import SECRET, Shown

SPAN = "const p = document.querySelector('#charts .chart').chart.plot; return [p.scales.x.min, p.scales.x.max]"
STAGE = """
const select = document.getElementById('curve-stage');
select.value = arguments[0];
select.dispatchEvent(new Event('change'));
"""


@pytest.fixture(scope="module")
def page(shown: Shown) -> Path:
    return shown.report(shown.runs[0], "--compare", shown.runs[1])


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    browser.resize(1280, 900)
    browser.open(page.as_uri())
    browser.run(STAGE, "show")
    browser.run("document.getElementById('charts').scrollIntoView()")
    browser.wait("return document.querySelector('#charts .chart canvas')")
    return browser


def test_report_opens_from_disk_without_a_complaint_or_a_request(
    browser: Browser, page: Path
) -> None:
    browser.complaints()
    browser.resize(1280, 900)
    browser.open(page.as_uri())
    for section in browser.run("return [...document.querySelectorAll('section')].map(s => s.id)"):
        browser.run("document.getElementById(arguments[0]).scrollIntoView()", section)
    browser.wait("return document.querySelectorAll('canvas').length >= 3")
    assert browser.complaints() == []
    assert browser.requests(page.as_uri()) == [page.as_uri()]
    assert browser.run("return window.harm") is None


def test_report_shows_graph_timeline_and_every_kind_of_picture(opened: Browser) -> None:
    boxes = opened.run(
        "return [...document.querySelectorAll('.box .name')].map(n => n.textContent)"
    )
    assert boxes == ["data", "show", "bad[word=</script>]", "bad[word=two]", "below"]
    assert opened.run("return document.querySelectorAll('.edges path').length") == 5
    assert opened.run("return document.querySelectorAll('.bar').length") == 4
    kinds = opened.run(
        "return [...document.querySelectorAll('figure:not([hidden])')]"
        ".filter(f => f.getBoundingClientRect().height > 20).map(f => f.dataset.kind)"
    )
    assert sorted(kinds) == ["audio", "boxes", "heatmap", "images", "lines", "spans", "table"]
    opened.run("document.querySelector('.images').scrollIntoView()")
    broken = "return [...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert opened.run(broken) == 0
    assert opened.run("return document.querySelector('audio').error") is None


def test_steps_of_a_picture_are_switched_by_its_slider(opened: Browser) -> None:
    script = "const a = document.querySelector('.album'); return [...a.querySelectorAll('figure:not([hidden])')].map(f => f.dataset.frame)"
    assert opened.run(script) == ["200"]
    opened.run(
        "const s = document.querySelector('.album .steps input');"
        "s.value = 0; s.dispatchEvent(new Event('input'))"
    )
    assert opened.run(script) == ["100"]


def test_curves_zoom_by_drag_and_keyboard_and_come_back(opened: Browser) -> None:
    assert opened.run(SPAN) == [1, 200]
    opened.drag("#charts .u-over", 0.25, 0.5)
    low, high = opened.wait(f"{SPAN.replace('return', 'const s =')}; return s[1] < 150 && s")
    assert low == pytest.approx(1 + 199 * 0.25, abs=3)
    assert high == pytest.approx(1 + 199 * 0.5, abs=3)
    spans = "return [...document.querySelectorAll('#charts .chart')].filter(h => h.chart.plot).map(h => h.chart.plot.scales.x.max)"
    assert len(set(opened.run(spans))) == 1
    press = (
        "document.querySelector('#charts .chart').dispatchEvent("
        "new KeyboardEvent('keydown', {key: arguments[0], bubbles: true}))"
    )
    opened.run(press, "-")
    wider = opened.run(SPAN)
    assert wider[1] - wider[0] == pytest.approx(2 * (high - low), rel=0.02)
    opened.run(press, "0")
    assert opened.run(SPAN) == [1, 200]


def test_compared_runs_lie_over_each_other(opened: Browser, shown: Shown) -> None:
    labels = opened.run(
        "return [...document.querySelector('#charts .curve').querySelectorAll('.keys span:nth-child(2)')].map(s => s.textContent)"
    )
    assert labels == shown.runs
    lines = "const p = document.querySelector('#charts .chart').chart.plot; return p.data.slice(1).map(y => y[150])"
    first, second = opened.run(lines)
    assert second == pytest.approx(2 * first, rel=1e-4)
    opened.run("document.querySelector('#charts .keys button').click()")
    assert len(opened.run(lines)) == 1


def test_log_scale_and_smoothing_change_what_is_drawn(opened: Browser) -> None:
    plot = "const p = document.querySelector('#charts .chart').chart.plot; return "
    assert opened.run(f"{plot} p.scales.y.distr") == 1
    opened.run("document.getElementById('curve-log').click()")
    opened.wait(f"{plot} p.scales.y.distr === 3")
    raw = opened.run(f"{plot} p.data[1]")
    opened.run(
        "const s = document.getElementById('curve-smooth');"
        "s.value = 0.9; s.dispatchEvent(new Event('input'))"
    )
    opened.wait(f"{plot} p.series.length === 5")
    smooth = opened.run(f"{plot} p.data[2]")
    # The mean without the bias of its start, computed here by its definition.
    weights = [0.9**k for k in range(50)]
    expected = sum(w * v for w, v in zip(weights, raw[49::-1], strict=True)) / sum(weights)
    assert smooth[49] == pytest.approx(expected, rel=1e-3)
    assert smooth[76] is None  # a hole stays one


def test_theme_follows_the_system_and_the_button(opened: Browser) -> None:
    paper = "return getComputedStyle(document.body).backgroundColor"
    light = opened.run(paper)
    opened.resize(1280, 900, theme="dark")
    dark = opened.wait(
        f"const now = getComputedStyle(document.body).backgroundColor; return now !== '{light}' && now"
    )
    opened.run("document.getElementById('theme').click()")
    assert opened.run(paper) == light
    opened.run("document.getElementById('theme').click()")
    opened.resize(1280, 900, theme="light")
    assert opened.run(paper) == dark
    opened.run("document.getElementById('theme').click()")
    assert opened.run(paper) == light


@pytest.mark.parametrize("width", [390, 768])
def test_narrow_page_does_not_scroll_sideways(browser: Browser, page: Path, width: int) -> None:
    browser.resize(width, 844)
    browser.open(page.as_uri())
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert browser.run("return document.documentElement.scrollWidth") <= width


def test_everything_that_acts_is_reached_by_keyboard(opened: Browser) -> None:
    mute = opened.run(
        "return [...document.querySelectorAll('button, input, select, a[href], [tabindex]')]"
        ".filter(e => e.tabIndex < 0 && !e.closest('[hidden]')).map(e => e.outerHTML.slice(0, 80))"
    )
    assert mute == []
    nameless = opened.run(
        "return [...document.querySelectorAll('button, a[href], input, select')]"
        ".filter(e => !(e.textContent.trim() || e.ariaLabel || e.labels?.length)).map(e => e.outerHTML)"
    )
    assert nameless == []


def test_report_holds_no_value_of_the_environment(shown: Shown, page: Path) -> None:
    for text in (page.read_text(), shown.report(shown.runs[0], REPORT_TOKEN=SECRET).read_text()):
        assert SECRET not in text
        assert "cannot open the door with ${env.REPORT_TOKEN}" in text
        assert "<code>${env.REPORT_TOKEN}</code>" in text


def test_report_names_settings_artifacts_and_failures(shown: Shown, page: Path) -> None:
    text = page.read_text()
    assert re.search(r"<td>with\.scale<td><code>1\.0</code><td>file dag\.yaml:\d+", text)
    assert re.search(r"<td>with\.points<td><code>200</code><td>default", text)
    assert re.search(r"show\.out <code class=\"digest\" title=\"[0-9a-f]{64}\">", text)
    assert "train_loss: 1 value is not finite, first at step 77" in text
    assert "bad data" in text
