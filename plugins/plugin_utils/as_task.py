"""For action plugins that run a module: the way that the module would run as a task of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def run_as_task(action: Any, task: Any, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Run the module of `task`, a copy of that of `action` with its own name and arguments; the module's result.

    Not by `_execute_module`, so that an AWS module runs warm here, too.
    """
    module = action._shared_loader_obj.action_loader.get(
        "ansible.legacy.normal",
        task=task,
        connection=action._connection,
        play_context=action._play_context,
        loader=action._loader,
        templar=action._templar,
        shared_loader_obj=action._shared_loader_obj,
    )
    result: dict[str, Any] = module.run(task_vars=variables)
    return result
