"""*Cluster*: GPUs by stage, the queue, and pods, from what others measure.

DCGM's series know the pod only; `pipeline_pod_info` says which stage that is.
"""

from grafana_foundation_sdk.builders import dashboard

from tools.dashboards.panels import Panel, Query, add, board, variable

_S = 'pipeline=~"$pipeline", run=~"$run"'
_JOIN = (
    "* on (namespace, pod) group_left (pipeline, run, stage) "
    "max by (namespace, pod, pipeline, run, stage) "
)
_PODS = f"{_JOIN}(pipeline_pod_info{{{_S}}})"
_ENDED_TOO = f"{_JOIN}(last_over_time(pipeline_pod_info{{{_S}}}[1d]))"
"""A pod that has ended tells nothing of itself any more, and is asked about all the same."""


def _by_pod(series: str) -> str:
    """A series with `namespace` and `pod`, whether the exporter's labels were honoured or not."""
    renamed = (
        f'label_replace(label_replace({series}{{exported_pod!=""}}, "pod", "$1", "exported_pod", '
        '"(.+)"), "namespace", "$1", "exported_namespace", "(.+)")'
    )
    return f'({series}{{exported_pod=""}} or {renamed})'


def _gpu(title: str, description: str, series: str, unit: str, *, scale: str = "") -> Panel:
    return Panel(
        title,
        description,
        (
            Query(
                f"avg by (stage) ({_by_pod(series)} {_PODS}){scale}",
                "{{stage}}",
            ),
        ),
        unit=unit,
        minimum=0,
    )


GPUS = (
    _gpu(
        "GPU utilisation",
        "Share of the time in which any kernel ran; not how much of the GPU it used.",
        "DCGM_FI_DEV_GPU_UTIL",
        "percent",
    ),
    _gpu(
        "Tensor cores active",
        "Truer than utilisation: share of cycles in which tensor cores worked.",
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
        "percentunit",
    ),
    _gpu(
        "Memory bandwidth active",
        "Share of cycles in which GPU memory moved data.",
        "DCGM_FI_PROF_DRAM_ACTIVE",
        "percentunit",
    ),
    Panel(
        "Utilisation by pod",
        "The lowest line is the straggler's, or the pod that waits.",
        (
            Query(
                f"avg by (stage, pod, gpu) ({_by_pod('DCGM_FI_DEV_GPU_UTIL')} {_PODS})",
                "{{pod}} GPU {{gpu}}",
            ),
        ),
        unit="percent",
        minimum=0,
        maximum=100,
    ),
    _gpu("GPU memory in use", "Mean over the stage's GPUs.", "DCGM_FI_DEV_FB_USED", "decmbytes"),
    _gpu("Power", "Mean over the stage's GPUs.", "DCGM_FI_DEV_POWER_USAGE", "watt"),
    _gpu("Temperature", "Mean over the stage's GPUs.", "DCGM_FI_DEV_GPU_TEMP", "celsius"),
    Panel(
        "Xid errors",
        "The last Xid that the driver reported on a GPU of a run; 0 is none. GpuXid fires.",
        (
            Query(
                f"max by (stage, pod, gpu) ({_by_pod('DCGM_FI_DEV_XID_ERRORS')} {_PODS})",
                "{{pod}} GPU {{gpu}}",
            ),
        ),
        steps=((1, "red"),),
        minimum=0,
    ),
    Panel(
        "Row remap failures",
        "1: the GPU's memory has no spare rows left; take it out of service.",
        (Query("max by (Hostname, gpu) (DCGM_FI_DEV_ROW_REMAP_FAILURE)", "{{Hostname}} {{gpu}}"),),
        steps=((1, "red"),),
        minimum=0,
    ),
)
QUEUES = (
    Panel(
        "Pending workloads",
        "Of Kueue: active ones wait for quota, inadmissible ones can never have it as they are.",
        (
            Query(
                "sum by (cluster_queue, status) (kueue_pending_workloads)",
                "{{cluster_queue}} {{status}}",
            ),
        ),
        minimum=0,
    ),
    Panel(
        "Admission wait, p95",
        "From created to admitted.",
        (
            Query(
                "histogram_quantile(0.95, sum by (cluster_queue, le) "
                "(rate(kueue_admission_wait_time_seconds_bucket[1h])))",
                "{{cluster_queue}}",
            ),
        ),
        unit="s",
        minimum=0,
    ),
    Panel(
        "Evictions",
        "By reason; each is a restart without blame.",
        (
            Query(
                "sum by (cluster_queue, reason) (increase(kueue_evicted_workloads_total[1h]))",
                "{{cluster_queue}} {{reason}}",
            ),
        ),
        minimum=0,
    ),
    Panel(
        "Quota in use",
        "GPUs in use by flavour.",
        (
            Query(
                'sum by (cluster_queue, flavor) (kueue_cluster_queue_resource_usage{resource=~".*gpu"})',
                "{{cluster_queue}} {{flavor}}",
            ),
        ),
        minimum=0,
        width=12,
    ),
    Panel(
        "JobSets",
        "Ended in the last hour.",
        (
            Query("sum(increase(jobset_completed_total[1h]))", "completed"),
            Query("sum(increase(jobset_failed_total[1h]))", "failed"),
        ),
        minimum=0,
        width=12,
    ),
)
PODS = (
    Panel(
        "Agents that answer",
        "Ranks of the pods that are scraped now.",
        (Query(f"sum by (stage) (pipeline_node_ranks{{{_S}}})", "{{stage}}"),),
        minimum=0,
    ),
    Panel(
        "Targets down",
        "Pods that do not answer Prometheus. TargetDown fires.",
        (Query('count by (pipeline, run) (up{job="pipeline"} == 0)', "{{pipeline}} {{run}}"),),
        minimum=0,
        steps=((1, "red"),),
    ),
    Panel(
        "Pods by phase",
        "From kube-state-metrics, of pods of these runs.",
        (
            Query(
                f"sum by (stage, phase) (kube_pod_status_phase {_ENDED_TOO})", "{{stage}} {{phase}}"
            ),
        ),
        minimum=0,
        stacked=True,
    ),
    Panel(
        "Unschedulable pods",
        "No node has room, or none fits the selectors.",
        (Query("sum by (namespace) (kube_pod_status_unschedulable)", "{{namespace}}"),),
        minimum=0,
    ),
    Panel(
        "Why containers ended",
        "OOMKilled: raise resources.memory.",
        (
            Query(
                "sum by (stage, reason) "
                f"(kube_pod_container_status_terminated_reason {_ENDED_TOO})",
                "{{stage}} {{reason}}",
            ),
        ),
        minimum=0,
    ),
    Panel(
        "Pods and their stages",
        "To look up a pod that another tool names.",
        (Query(f"max by (namespace, pod, pipeline, run, stage) (pipeline_pod_info{{{_S}}})"),),
        kind="rows",
    ),
)


def cluster() -> dashboard.Dashboard:
    """The dashboard."""
    built = board(
        "pipeline-cluster",
        "Pipeline / Cluster",
        "GPUs (DCGM), queues (Kueue), JobSets and pods of pipeline runs.",
    )
    built.with_variable(variable("pipeline", "pipeline_run_state"))
    built.with_variable(variable("run", 'pipeline_run_state{pipeline=~"$pipeline"}'))
    for title, panels in (("GPUs", GPUS), ("Queue", QUEUES), ("Pods", PODS)):
        add(built, title, panels)
    return built
