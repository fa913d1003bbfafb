"""Values of requests: each wrong one is named in one line before anything is done with it."""

import inspect
import math
import reprlib
from typing import Any

import gradio as gr

UPLOADED_FILE = 'an uploaded file, {"path": ..., "meta": {"_type": "gradio.FileData"}}'


def find_mistake(page: gr.Blocks, body: Any) -> str | None:
    """Return what is wrong with a request for a function of the page; None if nothing is.

    Args:
        page: The page.
        body: The request as gradio has parsed it: ``fn_index``, ``data``, ``event_data`` and
            ``session_hash``.
    """
    function = page.fns.get(body.fn_index)
    if function is None:
        return f"there is no function number {body.fn_index}"
    if function.fn is None:
        return f"function number {body.fn_index} runs in the browser only"
    if body.event_data is not None and not isinstance(body.event_data, dict):
        return "event_data must be an object or null"
    names = list(inspect.signature(function.fn).parameters)
    if len(body.data) != len(function.inputs):
        wanted = ", ".join(names[: len(function.inputs)]) or "no values"
        return f"{len(function.inputs)} values are needed ({wanted}), not {len(body.data)}"
    # A component may look different to this visitor: a list of languages is that of her model.
    seen: Any = page.state_holder[body.session_hash] if body.session_hash else {}
    for name, component, value in zip(names, function.inputs, body.data, strict=False):
        need = _need(seen.get(component._id, component), value)
        if need:
            return f"{name} must be {need}, not {reprlib.repr(value)}"
    return None


def _need(component: Any, value: Any) -> str | None:
    """What a value of a component must be; None if it is that."""
    if isinstance(component, gr.Radio | gr.Dropdown):
        choices = [choice for _, choice in component.choices]
        if not isinstance(value, str) or value not in choices:
            return "one of " + ", ".join(repr(choice) for choice in choices)
    elif isinstance(component, gr.Slider):
        low, high = component.minimum, component.maximum
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not low <= value <= high:
            return f"a number from {low:g} to {high:g}"
    elif isinstance(component, gr.Video) and value is not None:
        path = value.get("path") if isinstance(value, dict) else None
        try:
            if not isinstance(path, str) or "\0" in path:
                raise ValueError
            component.data_model.model_validate(value, context={"validate_meta": True})
        except ValueError:  # of pydantic, too
            return UPLOADED_FILE
    return None
