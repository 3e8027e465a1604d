"""One attempt as one pod sees it: what has to be there first, its ranks, what is left behind."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline.cache import Results
from pipeline.errors import Preempted
from pipeline.node.agent import Agent
from pipeline.node.exposition import AgentPages, ExpositionSettings
from pipeline.node.pod.code import check_code
from pipeline.node.pod.inputs import missing_inputs, unsealed, waited_in_vain, with_inputs
from pipeline.node.pod.logs import LogEcho
from pipeline.node.pod.meeting import Peers, gather
from pipeline.node.pod.mirror import FolderMirror
from pipeline.node.pod.peers import Signal
from pipeline.node.pod.place import Place
from pipeline.node.pod.progress import StallWatch, check_progress
from pipeline.node.pod.results import LeaseRenewal, StageResult
from pipeline.node.rendezvous import world_of
from pipeline.node.share import NodeOrder, NodeShare
from pipeline.spec.attempt import AttemptFolder, NodeExit
from pipeline.spec.job import Job
from pipeline.spec.stage import Launch
from pipeline.storage import Store

_TICK_SECONDS = 0.5
_POLL_SECONDS = 1.0
_TELL_EVERY_SECONDS = 30.0
_log = logging.getLogger(__name__)


class PodAttempt:
    """One node of a gang, one worker, or a process, in the hands of an agent."""

    def __init__(self, agent: Agent, place: Place, environ: Mapping[str, str]) -> None:
        """Reads the order.

        Raises:
            UsageError: there is none that is understood.
            StoreError: the pod's folders cannot be made.
        """
        self._agent = agent
        self._place = place
        self._environ = environ
        self._order = place.read_order()
        self._job = place.placed(self._order)
        place.make_folders(self._job)
        self._store = Store(self._job.store)
        self._stall: StallWatch | None = None
        self._told_at = float("-inf")
        settings = ExpositionSettings.from_environment(environ)
        # The pages speak of the job before its inputs are known: they show none of those.
        self._pages = None
        if settings.port is not None:
            self._pages = AgentPages(self._job, settings, problem=self._problem)

    def run(self) -> NodeExit:
        """The attempt's end on this node.

        Raises:
            WorkerError: it could not begin; the exception's code is the pod's.
            InfrastructureError: the store failed before it could begin.
        """
        check_code(self._order, self._place.scratch)
        job = self._job.model_copy(update={"config": unsealed(self._order, self._environ)})
        job = self._with_inputs(job)
        result = self._result(job)
        if result is None:
            return NodeExit(0, None, None, "", [], time.time())
        if self._place.node == 0 and job.launch is Launch.GANG:
            check_progress(self._store, job, self._place.restart)
        end = self._run_ranks(job, result)
        if self._pages is not None:
            self._pages.linger(lambda: self._agent.is_stopping)
            self._pages.close()
        return end

    # --- before ranks run

    def _with_inputs(self, job: Job) -> Job:
        order, results = self._order, Results(self._store)
        if not order.by_hand:
            return job
        give_up = time.monotonic() + order.wait_seconds
        missing = missing_inputs(order, results)
        while missing and not results.lookup(job.plan_key):
            if time.monotonic() >= give_up:
                raise waited_in_vain(order, missing, self._store.url)
            names = dict.fromkeys(one.stage for one in missing)
            self._wait(f"waiting for the results of {', '.join(names)}")
            missing = missing_inputs(order, results)
        return job if missing else with_inputs(order, job, results)

    def _result(self, job: Job) -> StageResult | None:
        """What this pod works for; None when it is there already."""
        result = StageResult(
            self._store,
            job,
            attempt_id=self._order.job.attempt_id,
            by_hand=self._order.by_hand,
            pod=self._place.node,
        )
        while True:
            if result.is_there():
                _log.info("%s: its result is in the store already", job.stage)
                return None
            if not (self._order.by_hand and self._place.node == 0):
                return result
            holder = result.take_lease()
            if not holder:
                return result
            self._wait(f"waiting for {holder}, which builds the same")

    def _wait(self, what: str) -> None:
        """A pause of a poll; raises when the pod is asked to go."""
        now = time.monotonic()
        if now >= self._told_at + _TELL_EVERY_SECONDS:
            self._told_at = now
            _log.info("%s", what)
        self._turn(pause_seconds=_POLL_SECONDS)
        if self._agent.is_stopping:
            msg = "asked to stop before ranks ran"
            raise Preempted(msg)

    # --- while ranks run

    def _run_ranks(self, job: Job, result: StageResult) -> NodeExit:
        gathered = gather(job, self._place, self._wait)
        peers, folder = gathered.peers, AttemptFolder(Path(job.folder))
        ranks = [world_of(job, self._place.node, n).rank for n in range(job.processes_per_node)]
        for rank in ranks:
            folder.failure(rank).unlink(missing_ok=True)  # of an earlier start of the same worker
        echo = LogEcho({rank: folder.log(rank) for rank in ranks})
        mirror = FolderMirror(self._store, self._place.attempt_key(job), folder.path)
        chores = [echo.turn, mirror.turn]
        if self._holds_lease:
            chores.append(LeaseRenewal(self._store, job).turn)
        if self._place.node == 0:
            # Rank 0 writes the progress; of other nodes nothing is known but that they live.
            self._stall = StallWatch(folder.path, self._order.stall_seconds)
        began = time.monotonic()
        self._agent.begin(NodeOrder(job, self._place.node, gathered.meeting))
        end = self._until_ended(peers, chores)
        self._stall = None
        echo.finish()
        if end.exit_code == 0 and (self._place.node == 0 or job.launch is Launch.WORKERS):
            result.record(time.monotonic() - began)
        if peers is not None:
            end = self._agree(peers, end)
        mirror.finish()
        if self._holds_lease and (end.exit_code != 0 or result.is_there()):
            result.release()
        gathered.close()
        return end

    def _until_ended(self, peers: Peers | None, chores: Sequence[Callable[[], None]]) -> NodeExit:
        """How the ranks of this node ended."""
        (share,) = self._agent.shares
        if self._agent.is_stopping:
            share.stop()  # asked while the others came
        while not (ended := self._agent.take_ended()):
            self._turn(peers)
            for chore in chores:
                chore()
            self._heed(share, peers.turn() if peers is not None else ())
            if problem := self._problem():
                self._stall = None
                share.give_up(problem)
        return ended[0][1]

    @property
    def _holds_lease(self) -> bool:
        return self._order.by_hand and self._place.node == 0

    def _heed(self, share: NodeShare, signals: Sequence[Signal]) -> None:
        for signal in signals:
            if signal == "stop":
                share.stop()
            else:
                share.peer_failed()

    def _agree(self, peers: Peers, end: NodeExit) -> NodeExit:
        """How the gang ended, which is what every pod of it says."""
        peers.ended(end)
        while (verdict := peers.verdict()) is None:
            self._turn(peers)
            peers.turn()
        peers.close()
        return verdict

    def _turn(self, peers: Peers | None = None, *, pause_seconds: float = _TICK_SECONDS) -> None:
        watched = list(peers.watched()) if peers is not None else []
        if self._pages is not None:
            watched.append(self._pages.server.fileno())
        self._agent.turn(watched, pause_seconds=pause_seconds)
        if self._pages is not None:
            self._pages.server.serve()

    def _problem(self) -> str:
        return self._stall.problem() if self._stall is not None else ""
