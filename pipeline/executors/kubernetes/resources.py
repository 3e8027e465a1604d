"""Kinds of objects that the runner reads and writes, and where the API server keeps them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Resource:
    """One kind; `group` is "" for the core, `plural` is what its URL says."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As objects write it: `batch/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version


POD = Resource("", "v1", "pods", "Pod")
SERVICE = Resource("", "v1", "services", "Service")
CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
EVENT = Resource("", "v1", "events", "Event")
CLAIM = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
SERVICE_ACCOUNT = Resource("", "v1", "serviceaccounts", "ServiceAccount")
NAMESPACE = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NODE = Resource("", "v1", "nodes", "Node", namespaced=False)
JOB = Resource("batch", "v1", "jobs", "Job")
JOBSET = Resource("jobset.x-k8s.io", "v1alpha2", "jobsets", "JobSet")
WORKLOAD = Resource("kueue.x-k8s.io", "v1beta2", "workloads", "Workload")
LOCAL_QUEUE = Resource("kueue.x-k8s.io", "v1beta2", "localqueues", "LocalQueue")
ACCESS_REVIEW = Resource(
    "authorization.k8s.io",
    "v1",
    "selfsubjectaccessreviews",
    "SelfSubjectAccessReview",
    namespaced=False,
)

_KINDS = {
    (one.api_version, one.kind): one
    for one in (POD, SERVICE, CONFIG_MAP, JOB, JOBSET, CLAIM, SERVICE_ACCOUNT)
}


def resource_of(item: dict[str, object]) -> Resource:
    """The resource of an object we render.

    Raises:
        KeyError: a kind that the runner never makes.
    """
    return _KINDS[str(item["apiVersion"]), str(item["kind"])]
