"""What is wrong with a setting, in words: the rule and what to write. The value is left out: it may be a secret.

pydantic finds the problem. Its own sentences speak of inputs and types; the sentences here speak of settings.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

_WHOLE, _LIST, _TABLE = (
    "must be a whole number",
    "must be a list, as in [...]",
    "must be a table, as in {{ name = value }}",
)
#: The sentence for each kind of problem that pydantic reports. `{ge}` and the like are the bounds of the setting.
_SENTENCES: Mapping[str, str] = {
    "missing": "is missing",
    "greater_than_equal": "must be at least {ge:,}",
    "greater_than": "must be above {gt:,}",
    "less_than_equal": "must be at most {le:,}",
    "less_than": "must be below {lt:,}",
    "finite_number": "must be a number, not NaN or an infinity",
    "literal_error": "must be {expected}",
    "extra_forbidden": "no such setting",
    "is_instance_of": "must be a {class}",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), _WHOLE),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("string_type", "string_unicode"), "must be text"),
    **dict.fromkeys(("tuple_type", "list_type", "set_type", "frozen_set_type", "iterable_type"), _LIST),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "model_attributes_type"), _TABLE),
    **dict.fromkeys(("path_type",), "must be the path of a file"),
}


def first_problem(wrong: ValidationError) -> tuple[tuple[str | int, ...], str]:
    """The place of the first wrong setting, such as `("fields", "drop", 0)`, and what is wrong with it."""
    problem = wrong.errors(include_input=False, include_url=False)[0]
    context: dict[str, Any] = dict(problem.get("ctx", {}))
    if problem["type"] == "value_error":
        return problem["loc"], str(context["error"])
    for bound, number in context.items():
        if isinstance(number, float) and number.is_integer():
            context[bound] = int(number)  # written 60, not 60.0
    if "expected" in context:
        context["expected"] = str(context["expected"]).replace("'", "")
    sentence = _SENTENCES.get(problem["type"], "has a value of the wrong kind")
    return problem["loc"], sentence.format(**context)
