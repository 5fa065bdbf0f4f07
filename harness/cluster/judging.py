"""The process of a worker that judges: with the judge, the guard and the drills of a run on one machine."""

from __future__ import annotations

import os
import platform
from multiprocessing.connection import Connection

from rocassay.harness.cases import Case
from rocassay.harness.choice import chosen_engine, make_judge, record_of
from rocassay.harness.cluster.messages import Greeting, Job, Judged
from rocassay.harness.environment import commit, peak_memory, versions
from rocassay.harness.faults import fault_named
from rocassay.harness.isolation.guard import guard_of_worker
from rocassay.harness.ops import discover
from rocassay.harness.sharding import Item


def judge_what_comes(descriptor: int) -> None:
    """Judge piece after piece that comes through a socket, until that closes or a case ends this process."""
    connection = Connection(descriptor)
    job: Job
    job, share, trace = connection.recv()
    discover()
    guard = guard_of_worker(job.options.case_timeout, job.options.case_memory, share, trace)
    judge = make_judge(job.options, guard=guard, limits=job.limits)
    device = chosen_engine(job.options.engine).describe().get("device", "")
    connection.send(Greeting(versions(), commit(), device, f"{platform.node()} {os.getpid()}"))
    while True:
        try:
            item: Item = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        case, fault = item
        record = record_of(judge, Case.parse(case), fault_named(fault) if fault else None)
        if why := judge.lost():
            guard.leave(why)
        connection.send(Judged(item, record.model_dump_json(), peak_memory()))
