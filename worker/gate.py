"""Whether a tuned model may serve a collection: decided by what was measured, in the commit that publishes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from service.store import catalog, deployments, events, jobs
from service.store.collection_records import CollectionRecord
from service.store.database import Tx
from service.store.errors import Conflict, NotFound
from service.store.events import NewEvent
from service.store.records import DeployPolicy, JobRecord, ModelRecord, new_id

BETTER: Final = "better"


class Decision(StrEnum):
    """What became of the wish to deploy."""

    DEPLOYED = "deployed"
    HELD_BACK = "held_back"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A decision with its reason, and the index job, not yet inserted, if the model goes out."""

    decision: Decision
    reason: str
    job: JobRecord | None = None

    def told(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The plan as the training job's result says it."""
        names = {"collection": asked["collection"], "policy": asked["policy"]}
        job = None if self.job is None else self.job.id
        return {**names, "decision": self.decision.value, "reason": self.reason, "job": job, "status": None}


def decide(policy: DeployPolicy, summary: Mapping[str, Any]) -> tuple[Decision, str]:
    """Whether to deploy, and why, in a sentence.

    `if_better` means better, with the whole interval above 0: "inconclusive" is what a model that learnt nothing gets,
    and a change that cannot be told from luck is not worth the risk of one that was not measured. A retention that is
    not held outweighs a better verdict, for it tells of texts that nobody judges. One that was not measured (switched
    off, or too few texts here) is no reason against the model; the sentence says so.
    """
    if policy is DeployPolicy.NEVER:
        return Decision.HELD_BACK, "the policy is never"
    if policy is DeployPolicy.ALWAYS:
        return Decision.DEPLOYED, "the policy is always"
    verdict, retention = summary["verdict"], summary.get("retention") or {}
    if verdict != BETTER:
        return Decision.HELD_BACK, f"the verdict is {verdict or 'unknown: nothing was judged'}, and not better"
    if retention.get("held") is False:
        fall = f"its nDCG@10 on the retention probe fell by {-retention['delta']:.4f}"
        return Decision.HELD_BACK, f"the model forgets: {fall}, more than {retention['bound']}"
    kept = "retention is held" if retention.get("held") else "retention was not measured"
    return Decision.DEPLOYED, f"the verdict is better and {kept}"


def plan(tx: Tx, job: JobRecord, *, model: ModelRecord, now: float) -> Plan | None:
    """What is to be done with the collection that the training names, which exists then; None where it names none."""
    if (asked := asked_of(job)) is None:
        return None
    decision, reason = decide(DeployPolicy(asked["policy"]), model.summary)
    if decision is Decision.HELD_BACK:
        return Plan(decision=decision, reason=reason)
    try:
        collection = catalog.get_collection(tx, job.project, name=asked["collection"])
    except NotFound:
        if asked["corpus_file"] is None:
            return Plan(
                decision=Decision.HELD_BACK, reason=f"collection {asked['collection']!r} does not exist any more"
            )
        collection = _made(tx, model, name=asked["collection"], now=now)
    if collection.model is None or collection.dimension != model.dimensions:
        has = f"{collection.dimension} dimensions and {'no' if collection.model is None else 'a'} model"
        reason = (
            f"collection {collection.name!r} has {has}; {model.id} needs {model.dimensions} and one that has a model"
        )
        return Plan(decision=Decision.HELD_BACK, reason=reason)
    index = deployments.deployment_job(collection, model=model.id, corpus_file=asked["corpus_file"], now=now)
    return Plan(decision=decision, reason=reason, job=index)


def carry_out(tx: Tx, job: JobRecord, *, plan: Plan, now: float) -> None:
    """The index job waits, and an event tells the decision; of one commit with the model."""
    if plan.job is not None:
        jobs.insert(tx, plan.job)
    held = plan.decision is Decision.HELD_BACK
    event = NewEvent(
        job_id=job.id,
        attempt=job.attempt,
        at=now,
        level="warn" if held else "info",
        type=plan.decision.value,
        message=f"The model is {'not deployed' if held else 'deployed'}: {plan.reason}.",
        data={"job": None if plan.job is None else plan.job.id},
    )
    events.append(tx, event)


def asked_of(job: JobRecord) -> Mapping[str, Any] | None:
    """What a training job says of deploying."""
    found: Mapping[str, Any] | None = job.spec.get("deploy")
    return found


def _made(tx: Tx, model: ModelRecord, *, name: str, now: float) -> CollectionRecord:
    """A new collection of the model, or the one that somebody else has made at this moment."""
    collection = CollectionRecord(
        id=new_id("col"),
        project=model.project,
        name=name,
        created_at=now,
        model=model.id,
        dimension=model.dimensions,
        metadata={},
        watermark=0,
    )
    try:
        catalog.insert_collection(tx, collection, model_follows=True)
    except Conflict:
        return catalog.get_collection(tx, model.project, name=name)
    return collection
