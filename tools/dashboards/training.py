"""*Training*: does it learn, how fast, and what does it wait for."""

from grafana_foundation_sdk.builders import dashboard

from tools.dashboards.panels import SOURCE, Panel, Query, add, board, variable

_S = 'pipeline=~"$pipeline", run=~"$run", stage=~"$stage"'
_BY = "pipeline, run, stage"
_NAME = "{{stage}}"

GLANCE = (
    Panel(
        "Waits for data",
        "Share of its time the rank that waits longest spends waiting for batches. Yellow: some; "
        "red: a starved loader. Give the stage more CPUs, or put the shards nearer.",
        (
            Query(
                f"max by ({_BY}) (rate(pipeline_train_data_wait_seconds_total{{{_S}}}[5m]))", _NAME
            ),
        ),
        unit="percentunit",
        kind="number",
        steps=((0.05, "yellow"), (0.2, "red")),
        width=4,
    ),
    Panel(
        "Straggler",
        "Compute time of the slowest rank over the median rank. 1 is even; at 1.3 all ranks lose a "
        "quarter to one: see which below, and its GPU in Cluster.",
        (
            Query(
                f"max by ({_BY}) (rate(pipeline_train_compute_seconds_total{{{_S}}}[5m])) / "
                f"quantile by ({_BY}) (0.5, "
                f"rate(pipeline_train_compute_seconds_total{{{_S}}}[5m]))",
                _NAME,
            ),
        ),
        kind="number",
        steps=((1.15, "yellow"), (1.3, "red")),
        width=4,
    ),
    Panel(
        "Restarts in the last hour",
        "More than 3 is a restart loop: causes are in Runs.",
        (Query(f"sum by ({_BY}) (increase(pipeline_stage_restarts_total{{{_S}}}[1h]))", _NAME),),
        kind="number",
        steps=((1, "yellow"), (3, "red")),
        width=4,
    ),
    Panel(
        "MFU",
        "The model's arithmetic over the devices' peak. On a CPU the peak is measured.",
        (Query(f"max by ({_BY}) (pipeline_train_mfu_ratio{{{_S}}})", _NAME),),
        unit="percentunit",
        kind="number",
        width=4,
    ),
    Panel(
        "Goodput",
        "Share of the time in which new steps were taken: no startup, no waiting for data, no "
        "saving, nothing done twice.",
        (
            Query(
                f'sum by ({_BY}) (rate(pipeline_stage_active_seconds_total{{{_S}, kind="train"}}'
                f"[15m])) / sum by ({_BY}) "
                f"(rate(pipeline_stage_active_seconds_total{{{_S}}}[15m]))",
                _NAME,
            ),
        ),
        unit="percentunit",
        kind="number",
        width=4,
    ),
    Panel(
        "Since the last step",
        "Grows while nothing moves: an evaluation, a save, or a stall.",
        (
            Query(
                f"time() - max by ({_BY}) (pipeline_train_last_step_timestamp_seconds{{{_S}}})",
                _NAME,
            ),
        ),
        unit="s",
        kind="number",
        steps=((120, "yellow"), (600, "red")),
        width=4,
    ),
)
LEARNING = (
    Panel(
        "Loss",
        "Of the logged steps, over the global batch.",
        (Query(f"max by ({_BY}) (pipeline_train_loss{{{_S}}})", _NAME),),
    ),
    Panel(
        "Learning rate",
        "The largest over the parameter groups.",
        (Query(f"max by ({_BY}) (pipeline_train_learning_rate{{{_S}}})", _NAME),),
        unit="sci",
        minimum=0,
    ),
    Panel(
        "Gradient norm",
        "Over all parameters, before clipping.",
        (Query(f"max by ({_BY}) (pipeline_train_grad_norm{{{_S}}})", _NAME),),
        log=True,
    ),
    Panel(
        "Progress",
        "Steps done of those there are.",
        (
            Query(
                f"max by ({_BY}) (pipeline_train_step{{{_S}}}) / "
                f"max by ({_BY}) (pipeline_train_target_steps{{{_S}}})",
                _NAME,
            ),
        ),
        unit="percentunit",
        minimum=0,
        maximum=1,
    ),
    Panel(
        "Scores of the method, training",
        "What the method measures of its own steps.",
        (Query(f"max by ({_BY}, score) (pipeline_train_score{{{_S}}})", "{{stage}} {{score}}"),),
    ),
    Panel(
        "Scores, held out",
        "Of the evaluations.",
        (Query(f"max by ({_BY}, score) (pipeline_eval_score{{{_S}}})", "{{stage}} {{score}}"),),
    ),
)
SPEED = (
    Panel(
        "Examples a second",
        "Over all ranks.",
        (
            Query(
                f"sum by ({_BY}) (rate(pipeline_train_samples_total{{{_S}}}[$__rate_interval]))",
                _NAME,
            ),
        ),
        minimum=0,
    ),
    Panel(
        "Tokens a second",
        "Over all ranks; of methods that count them.",
        (
            Query(
                f"sum by ({_BY}) (rate(pipeline_train_tokens_total{{{_S}}}[$__rate_interval]))",
                _NAME,
            ),
        ),
        minimum=0,
    ),
    Panel(
        "Step time",
        "Median and 95th percentile, waiting included.",
        tuple(
            Query(
                f"histogram_quantile({q}, sum by ({_BY}, le) "
                f"(rate(pipeline_train_step_duration_seconds_bucket{{{_S}}}[$__rate_interval])))",
                f"{_NAME} p{q * 100:.0f}",
            )
            for q in (0.5, 0.95)
        ),
        unit="s",
        minimum=0,
    ),
    Panel(
        "Arithmetic a second",
        "What the model asks for, over all ranks, and the peak of one device.",
        (
            Query(
                f"sum by ({_BY}) (rate(pipeline_train_model_flops_total{{{_S}}}"
                "[$__rate_interval]))",
                _NAME,
            ),
            Query(f"max by ({_BY}) (pipeline_device_peak_flops{{{_S}}})", f"{_NAME} peak"),
        ),
        unit="flops",
        minimum=0,
        log=True,
    ),
    Panel(
        "Where a second goes",
        "Seconds a second in each phase of the loop. data: the loader is behind; agree: another "
        "rank is late; all_reduce: the network, where no arithmetic hides it.",
        (
            Query(
                f"sum by (phase) (rate(pipeline_train_phase_seconds_total{{{_S}}}"
                "[$__rate_interval]))",
                "{{phase}}",
            ),
        ),
        unit="percentunit",
        stacked=True,
        minimum=0,
    ),
    Panel(
        "Goodput by kind",
        "train is new steps; replay is steps that an attempt before had taken already.",
        (
            Query(
                f"sum by (kind) (rate(pipeline_stage_active_seconds_total{{{_S}}}"
                "[$__rate_interval]))",
                "{{kind}}",
            ),
        ),
        unit="percentunit",
        stacked=True,
        minimum=0,
    ),
)
RANKS = (
    Panel(
        "Data wait by rank",
        "Share of the time; all ranks alike: the source is slow; one rank: its node is.",
        (
            Query(
                f"sum by (stage, rank) (rate(pipeline_train_data_wait_seconds_total{{{_S}}}"
                "[$__rate_interval]))",
                "{{stage}} rank {{rank}}",
            ),
        ),
        unit="percentunit",
        steps=((0.2, "red"),),
        minimum=0,
        width=12,
    ),
    Panel(
        "Compute by rank",
        "Forward and backward, without waiting for others. The line above the bundle is the "
        "straggler.",
        (
            Query(
                f"sum by (stage, rank) (rate(pipeline_train_compute_seconds_total{{{_S}}}"
                "[$__rate_interval]))",
                "{{stage}} rank {{rank}}",
            ),
        ),
        unit="percentunit",
        minimum=0,
        width=12,
    ),
    Panel(
        "GPU memory, peak",
        "allocated: tensors; reserved: with what the allocator keeps.",
        (
            Query(
                f"max by (stage, rank, kind) (pipeline_gpu_memory_bytes{{{_S}}})",
                "{{stage}} rank {{rank}} {{kind}}",
            ),
        ),
        unit="bytes",
        minimum=0,
        width=12,
    ),
    Panel(
        "Host memory, peak",
        "Resident memory of each rank; the limit is resources.memory.",
        (
            Query(
                f"max by (stage, rank) (pipeline_host_memory_bytes{{{_S}}})",
                "{{stage}} rank {{rank}}",
            ),
        ),
        unit="bytes",
        minimum=0,
        width=12,
    ),
)
SAFETY = (
    Panel(
        "Since the last checkpoint",
        "What a crash would cost now; red at three times the interval that is asked for.",
        (
            Query(
                f"time() - max by ({_BY}) "
                f"(pipeline_checkpoint_last_success_timestamp_seconds{{{_S}}})",
                _NAME,
            ),
            Query(
                f"3 * max by ({_BY}) (pipeline_checkpoint_interval_seconds{{{_S}}})",
                f"{_NAME} alert",
            ),
        ),
        unit="s",
        minimum=0,
    ),
    Panel(
        "Pause for a save",
        "Mean over the window, and half the grace period, which it should stay below.",
        (
            Query(
                f"sum by ({_BY}) (increase(pipeline_checkpoint_save_duration_seconds_sum{{{_S}}}"
                f"[15m])) / (sum by ({_BY}) "
                f"(increase(pipeline_checkpoint_save_duration_seconds_count{{{_S}}}[15m])) > 0)",
                _NAME,
            ),
            Query(
                f"0.5 * max by ({_BY}) (pipeline_stage_grace_seconds{{{_S}}})",
                f"{_NAME} half the grace",
            ),
        ),
        unit="s",
        minimum=0,
    ),
    Panel(
        "Size of a checkpoint",
        "All ranks' files together.",
        (Query(f"max by ({_BY}) (pipeline_checkpoint_bytes{{{_S}}})", _NAME),),
        unit="bytes",
        minimum=0,
    ),
    Panel(
        "Saved and reached step",
        "The gap is what a crash would lose.",
        (
            Query(f"max by ({_BY}) (pipeline_checkpoint_last_step{{{_S}}})", f"{_NAME} saved"),
            Query(f"max by ({_BY}) (pipeline_train_step{{{_S}}})", f"{_NAME} reached"),
        ),
        minimum=0,
    ),
    Panel(
        "Steps gone wrong",
        "nonfinite: the attempt ends as diverged; skipped: fp16 left the update out; lost: taken "
        "again after a restart.",
        (
            Query(
                f"sum by (stage, what) (pipeline_train_nonfinite_total{{{_S}}})",
                "{{stage}} nonfinite {{what}}",
            ),
            Query(
                f"sum by (stage) (pipeline_train_skipped_steps_total{{{_S}}})", "{{stage}} skipped"
            ),
            Query(f"sum by (stage) (pipeline_train_lost_steps_total{{{_S}}})", "{{stage}} lost"),
        ),
        minimum=0,
    ),
    Panel(
        "Failed saves",
        "Each ends its attempt; the store's answer is in the log.",
        (Query(f"sum by ({_BY}) (pipeline_checkpoint_failures_total{{{_S}}})", _NAME),),
        minimum=0,
        steps=((1, "red"),),
    ),
)
ANNOTATIONS = (
    (
        "restarts",
        "red",
        f"sum by (stage) (increase(pipeline_stage_restarts_total{{{_S}}}[1m])) > 0",
    ),
    (
        "checkpoints",
        "blue",
        f"sum by (stage) (changes(pipeline_checkpoint_last_step{{{_S}}}[1m])) > 0",
    ),
)


def training() -> dashboard.Dashboard:
    """The dashboard."""
    built = board(
        "pipeline-training",
        "Pipeline / Training",
        "Loss, speed, where the time goes, ranks, checkpoints and goodput of training stages.",
    )
    scope = 'pipeline=~"$pipeline"'
    built.with_variable(variable("pipeline", "pipeline_train_step"))
    built.with_variable(variable("run", f"pipeline_train_step{{{scope}}}"))
    built.with_variable(variable("stage", f'pipeline_train_step{{{scope}, run=~"$run"}}'))
    for name, color, expr in ANNOTATIONS:
        built.annotation(
            dashboard.AnnotationQuery()
            .name(name)
            .datasource(SOURCE)
            .enable(True)
            .icon_color(color)
            .expr(expr)
        )
    for title, panels in (
        ("In ten seconds", GLANCE),
        ("Learning", LEARNING),
        ("Speed", SPEED),
        ("Ranks", RANKS),
        ("Checkpoints and losses", SAFETY),
    ):
        add(built, title, panels)
    return built
