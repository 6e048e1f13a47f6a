"""Every task has a queue, and its name is frozen: API and workers of two versions must understand each other."""

from typing import get_args

from crossfade_core.messages import CONTROL_QUEUE, MERGE_QUEUE, PLAN, PUBLISH, QUEUE_OF, UNIT, TaskName


def test_every_task_has_a_queue():
    assert set(QUEUE_OF) == set(get_args(TaskName)) == {PLAN, UNIT, PUBLISH}


def test_only_units_go_to_the_merge_queue():
    assert {task for task, queue in QUEUE_OF.items() if queue == MERGE_QUEUE} == {UNIT}
    assert {queue for task, queue in QUEUE_OF.items() if task != UNIT} == {CONTROL_QUEUE}


def test_names_on_the_wire_are_frozen():
    assert QUEUE_OF == {"merge.plan": "control", "merge.unit": "merge", "merge.publish": "control"}
