"""Panels in the house style: few kinds, units and descriptions always set, the same variables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.dashboard import Panel as PanelModel
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
Width = Literal[4, 6, 8, 12, 24]
Steps = Sequence[tuple[float, str]]
"""(from this value on, colour); what lies below the first is green."""


@dataclass(frozen=True)
class Query:
    """PromQL and what its series are called, with {{label}} in it."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel, before it is drawn.

    Attributes:
        title: a few words.
        description: what to see in it, and what to do about it.
        queries: at least one.
        unit: of Grafana's units, e.g. "s", "percentunit", "bytes", "short".
        kind: "curves" over time, "number" now, "states" over time, or "rows" of a table.
        stacked: curves add up.
        steps: colours of values.
        width: of 24 columns.
        minimum, maximum: of the axis.
        mappings: for "states": value -> (text, colour).
        log: the axis is logarithmic.
    """

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: Literal["curves", "number", "states", "rows"] = "curves"
    stacked: bool = False
    steps: Steps = ()
    width: Width = 8
    minimum: float | None = None
    maximum: float | None = None
    mappings: Mapping[int, tuple[str, str]] | None = None
    log: bool = False

    def build(self) -> Builder[PanelModel]:
        """As the SDK wants it."""
        return _BUILDERS[self.kind](self)


def curves(panel: Panel) -> timeseries.Panel:
    """Values over time, with the last and the largest in the legend."""
    built = timeseries.Panel()
    _common(built, panel)
    built.legend(
        common.VizLegendOptions()
        .display_mode(common_models.LegendDisplayMode.TABLE)
        .placement(common_models.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
    )
    built.tooltip(
        common.VizTooltipOptions()
        .mode(common_models.TooltipDisplayMode.MULTI)
        .sort(common_models.SortOrder.DESCENDING)
    )
    built.line_width(1).fill_opacity(60 if panel.stacked else 5)
    # A gap is what it looks like: nobody scraped, or nothing ran.
    built.span_nulls(False)
    if panel.stacked:
        built.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    if panel.log:
        built.scale_distribution(
            common.ScaleDistributionConfig().type(common_models.ScaleDistribution.LOG).log(10)
        )
    if panel.steps:
        built.thresholds_style(
            common.GraphThresholdsStyleConfig().mode(common_models.GraphTresholdsStyleMode.LINE)
        )
    if panel.minimum is not None:
        built.min(panel.minimum)
    if panel.maximum is not None:
        built.max(panel.maximum)
    return built


def number(panel: Panel) -> stat.Panel:
    """The newest values, one tile a series, coloured by the steps."""
    built = stat.Panel()
    _common(built, panel)
    built.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    built.color_mode(common_models.BigValueColorMode.BACKGROUND)
    built.graph_mode(common_models.BigValueGraphMode.AREA)
    built.text_mode(common_models.BigValueTextMode.VALUE_AND_NAME)
    return built


def states(panel: Panel) -> statetimeline.Panel:
    """A coloured bar a series."""
    built = statetimeline.Panel()
    _common(built, panel)
    mapped = {
        str(value): models.ValueMappingResult(text=text, color=color, index=value)
        for value, (text, color) in (panel.mappings or {}).items()
    }
    built.mappings([models.ValueMap(options=mapped)])
    built.show_value(common_models.VisibilityMode.AUTO).row_height(0.8)
    return built


def rows(panel: Panel) -> table.Panel:
    """The newest values, one row a series."""
    built = table.Panel()
    _common(built, panel, instant=True)
    return built


_BUILDERS = {"curves": curves, "number": number, "states": states, "rows": rows}
_Built = timeseries.Panel | stat.Panel | statetimeline.Panel | table.Panel


def _common(built: _Built, panel: Panel, *, instant: bool = False) -> None:
    built.title(panel.title).description(panel.description).datasource(SOURCE)
    built.span(panel.width).height(4 if panel.kind == "number" else 8)
    built.unit(panel.unit)
    steps = [models.Threshold(value=None, color="green")]
    steps += [models.Threshold(value=value, color=color) for value, color in panel.steps]
    built.thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    if panel.kind in ("number", "states"):
        built.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
    for place, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expr).ref_id(chr(ord("A") + place))
        if query.legend:
            target.legend_format(query.legend)
        if instant:
            target.instant()
            target.format(PromQueryFormat.TABLE)
        else:
            target.range()
        built.with_target(target)


def variable(name: str, series: str, *, label: str | None = None) -> dashboard.QueryVariable:
    """A choice of the values of a label, with "all" first."""
    return (
        dashboard.QueryVariable(name)
        .label(label or name)
        .datasource(SOURCE)
        .query(f"label_values({series}, {name})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(models.VariableOption(text="All", value="$__all", selected=True))
    )


def board(uid: str, title: str, description: str) -> dashboard.Dashboard:
    """An empty dashboard with the choice of a data source."""
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["pipeline"])
        .timezone("browser")
        .refresh("30s")
        .time("now-3h", "now")
        .editable()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("Pipeline")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags(["pipeline"])
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("data source").type("prometheus")
        )
    )


def add(target: dashboard.Dashboard, title: str, panels: Sequence[Panel]) -> None:
    """A row with its panels."""
    target.with_row(dashboard.Row(title))
    for panel in panels:
        target.with_panel(panel.build())
