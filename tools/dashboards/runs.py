"""*Runs*: how runs and their stages stand, what they wait for and what they cost."""

from grafana_foundation_sdk.builders import dashboard

from tools.dashboards.panels import Panel, Query, add, board, variable

_SCOPE = 'pipeline=~"$pipeline", run=~"$run"'
_STAGE = f'{_SCOPE}, stage=~"$stage"'

_STATES = {
    1: ("waiting", "#8e8e8e"),
    2: ("running", "blue"),
    3: ("retrying", "orange"),
    4: ("done", "green"),
    5: ("reused", "super-light-green"),
    6: ("failed", "red"),
    7: ("cancelled", "yellow"),
    8: ("blocked", "dark-red"),
    9: ("skipped", "#5a5a5a"),
}

NOW = (
    Panel(
        "Runs by state",
        "Runs that Prometheus sees now. A run that ended is seen for its last minutes only.",
        (Query(f"sum by (state) (pipeline_run_state{{{_SCOPE}}}) > 0", "{{state}}"),),
        kind="number",
    ),
    Panel(
        "Restarts in the last hour",
        "A number that keeps growing is a restart loop: look at the causes below, then at the "
        "log of the attempt (pipeline logs STAGE). Above 3 the alert RestartLoop fires.",
        (
            Query(
                f"sum by (stage) (increase(pipeline_stage_restarts_total{{{_STAGE}}}[1h]))",
                "{{stage}}",
            ),
        ),
        kind="number",
        steps=((1, "yellow"), (3, "red")),
    ),
    Panel(
        "Stages that failed or are blocked",
        "pipeline status RUN says why and what to do.",
        (
            Query(
                f'sum by (stage, state) (pipeline_stage_state{{{_STAGE}, state=~"failed|blocked"}})'
                " > 0 or vector(0)",
                "{{stage}} {{state}}",
            ),
        ),
        kind="number",
        steps=((1, "red"),),
    ),
)
STAGES = (
    Panel(
        "Stage states",
        "One bar a stage. Orange stripes are restarts.",
        (
            Query(
                " + ".join(
                    f"{number} * sum by (run, stage) "
                    f'(pipeline_stage_state{{{_STAGE}, state="{state}"}})'
                    for number, (state, _) in _STATES.items()
                ),
                "{{stage}}",
            ),
        ),
        kind="states",
        mappings=_STATES,
        width=24,
    ),
    Panel(
        "Attempts",
        "Attempts started, over all sessions of the run.",
        (Query(f"sum by (stage) (pipeline_stage_attempts_total{{{_STAGE}}})", "{{stage}}"),),
        minimum=0,
    ),
    Panel(
        "Restarts by cause",
        "crashed: the stage's code; killed: a signal, memory most often; lost: the node; "
        "preempted: asked to stop, with its state saved; timeout: timeout_seconds was over.",
        (
            Query(
                f"sum by (stage, cause) (increase(pipeline_stage_restarts_total{{{_STAGE}}}"
                "[$__rate_interval]))",
                "{{stage}} {{cause}}",
            ),
        ),
        stacked=True,
        minimum=0,
    ),
    Panel(
        "Duration of the last attempt",
        "From start to end, of attempts that have ended.",
        (Query(f"max by (stage) (pipeline_stage_duration_seconds{{{_STAGE}}})", "{{stage}}"),),
        unit="s",
        minimum=0,
    ),
)
QUEUE = (
    Panel(
        "Queue wait",
        "From all inputs there to the first attempt, of stages that have started.",
        (Query(f"max by (stage) (pipeline_stage_queue_wait_seconds{{{_STAGE}}})", "{{stage}}"),),
        unit="s",
        minimum=0,
        steps=((3600, "red"),),
        width=12,
    ),
    Panel(
        "Waiting now",
        "How long stages with all their inputs have waited so far. Above an hour QueueWaitLong "
        "fires: look at the queue's quota in Cluster.",
        (
            Query(
                f"time() - max by (stage) (pipeline_stage_ready_timestamp_seconds{{{_STAGE}}})",
                "{{stage}}",
            ),
        ),
        unit="s",
        minimum=0,
        steps=((3600, "red"),),
        width=12,
    ),
)
COST = (
    Panel(
        "GPU-hours held",
        "Time times GPUs of all attempts, idle or not.",
        (
            Query(
                f"sum by (stage) (pipeline_stage_gpu_seconds_total{{{_STAGE}}}) / 3600",
                "{{stage}}",
            ),
        ),
        stacked=True,
        minimum=0,
    ),
    Panel(
        "GPU-hours wasted",
        "Of these, what no checkpoint and no result kept: work after the last checkpoint of an "
        "attempt that failed. Save more often where this grows.",
        (
            Query(
                f"sum by (stage) (pipeline_stage_gpu_wasted_seconds_total{{{_STAGE}}}) / 3600",
                "{{stage}}",
            ),
        ),
        stacked=True,
        minimum=0,
    ),
    Panel(
        "Reused results",
        "Share of the stages whose result was there already.",
        (
            Query(
                f'sum by (pipeline) (pipeline_cache_requests_total{{{_SCOPE}, result="hit"}})'
                f" / sum by (pipeline) (pipeline_cache_requests_total{{{_SCOPE}}})",
                "{{pipeline}}",
            ),
        ),
        unit="percentunit",
        minimum=0,
        maximum=1,
    ),
)
MONTHS = (
    Panel(
        "GPU-hours an hour",
        "From recording rules without the run: choose weeks or months.",
        (
            Query('pipeline:gpu_hours:increase1h{pipeline=~"$pipeline"}', "{{stage}}"),
            Query(
                'pipeline:gpu_hours_wasted:increase1h{pipeline=~"$pipeline"}', "{{stage}} wasted"
            ),
        ),
        minimum=0,
        width=12,
    ),
    Panel(
        "Restarts an hour",
        "From a recording rule without the run, by cause.",
        (Query('pipeline:restarts:increase1h{pipeline=~"$pipeline"}', "{{stage}} {{cause}}"),),
        minimum=0,
        width=12,
    ),
)


def runs() -> dashboard.Dashboard:
    """The dashboard."""
    built = board(
        "pipeline-runs", "Pipeline / Runs", "States, attempts, queues and cost of pipeline runs."
    )
    built.with_variable(variable("pipeline", "pipeline_run_state"))
    built.with_variable(variable("run", 'pipeline_run_state{pipeline=~"$pipeline"}'))
    built.with_variable(variable("stage", f"pipeline_stage_state{{{_SCOPE}}}"))
    for title, panels in (
        ("Now", NOW),
        ("Stages", STAGES),
        ("Queue", QUEUE),
        ("Cost", COST),
        ("Over months", MONTHS),
    ):
        add(built, title, panels)
    return built
