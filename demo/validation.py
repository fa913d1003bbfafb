"""Values of requests: each wrong one is named in one line before anything is done with it."""

import inspect
import reprlib
from typing import Any

import gradio as gr

UPLOADED_FILE = 'an uploaded file, {"path": ..., "meta": {"_type": "gradio.FileData"}}'


def find_mistake(page: gr.Blocks, body: Any) -> str | list[dict[str, Any]] | None:
    """Return what is wrong with a request for a function of the page; None if nothing is.

    Args:
        page: The page.
        body: The request as gradio has parsed it: ``fn_index``, ``data``, ``event_data`` and
            ``session_hash``.

    Returns:
        One line, or a list for the values in the form that gradio's clients show.
    """
    function = page.fns.get(body.fn_index)
    if function is None or function.fn is None:
        return f"there is no function number {body.fn_index}"
    if body.event_data is not None and not isinstance(body.event_data, dict):
        return "event_data must be an object or null"
    names = list(inspect.signature(function.fn).parameters)[: len(function.inputs)]
    if len(body.data) != len(names):
        wanted = ", ".join(names) or "none"
        return f"data must have {len(names)} values ({wanted}), not {len(body.data)}"
    # A component may look different to this visitor: a list of languages is that of her model.
    seen: Any = page.state_holder[body.session_hash] if body.session_hash else {}
    valid: list[dict[str, Any]] = []
    for name, component, value in zip(names, function.inputs, body.data, strict=True):
        need = _need(seen.get(component._id, component), value)
        result = {"__type__": "validate", "is_valid": not need, "parameter_name": name}
        if need:
            message = f"{name} must be {need}, not {reprlib.repr(value)}"
            return [*valid, {**result, "message": message}]
        valid.append({**result, "message": ""})
    return None


def _need(component: Any, value: Any) -> str | None:
    """What a value of a component must be; None if it is that."""
    if isinstance(component, gr.Radio | gr.Dropdown):
        choices = [choice for _, choice in component.choices]
        if not isinstance(value, str) or value not in choices:
            return "one of " + ", ".join(repr(choice) for choice in choices)
    elif isinstance(component, gr.Slider):
        low, high, step = component.minimum, component.maximum, component.step
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not low <= value <= high or (value - low) % step:
            return f"a number from {low:g} to {high:g} in steps of {step:g}"
    elif isinstance(component, gr.Video) and value is not None:
        path = value.get("path") if isinstance(value, dict) else None
        try:
            if not isinstance(path, str) or "\0" in path:
                raise ValueError
            component.data_model.model_validate(value, context={"validate_meta": True})
        except ValueError:  # of pydantic, too
            return UPLOADED_FILE
    return None
