"""The record schema of `results.jsonl` and the file that holds it: appended line by line, safe against a kill.

A file is a sequence of lines, each one JSON object with a `kind`: `run` (what was asked for and what was
expected), `case` (one verdict) and `end` (the run finished); for an end-to-end evaluation `eval` (what is asked),
`question` (one answer) and `accuracy` (the verdict). Every report is a pure function of these lines.
"""

from __future__ import annotations

from rocassay.harness.results.accuracy import (
    AccuracyRecord,
    AccuracyStatus,
    EvalHeader,
    Evaluation,
    Fingerprint,
    Finish,
    QuestionRecord,
    configuration_of,
    latest,
)
from rocassay.harness.results.assay import Assay, finished_keys, read, summary
from rocassay.harness.results.lines import Record, json_schema
from rocassay.harness.results.measures import COSTS, Measures, measured, seconds_of
from rocassay.harness.results.merging import merge
from rocassay.harness.results.schema import (
    GREEN,
    RAN,
    SCHEMA_VERSION,
    Axis,
    CaseRecord,
    Cell,
    Check,
    Coordinate,
    FalseAlarms,
    Model,
    Picture,
    ResultsError,
    RunEnd,
    RunHeader,
    Shard,
    Status,
)
from rocassay.harness.results.usage import NOT_OF_THE_KERNEL, WorstUse, strongest, usage, worst_usage
from rocassay.harness.results.writer import ResultsWriter, move_aside, set_aside_cut_tail

__all__ = [
    "COSTS",
    "GREEN",
    "NOT_OF_THE_KERNEL",
    "RAN",
    "SCHEMA_VERSION",
    "AccuracyRecord",
    "AccuracyStatus",
    "Assay",
    "Axis",
    "CaseRecord",
    "Cell",
    "Check",
    "Coordinate",
    "EvalHeader",
    "Evaluation",
    "FalseAlarms",
    "Fingerprint",
    "Finish",
    "Measures",
    "Model",
    "Picture",
    "QuestionRecord",
    "Record",
    "ResultsError",
    "ResultsWriter",
    "RunEnd",
    "RunHeader",
    "Shard",
    "Status",
    "WorstUse",
    "configuration_of",
    "finished_keys",
    "json_schema",
    "latest",
    "measured",
    "merge",
    "move_aside",
    "read",
    "seconds_of",
    "set_aside_cut_tail",
    "strongest",
    "summary",
    "usage",
    "worst_usage",
]
