"""Overrides on the command line of MONAI's bundle runner: read as typed, and refused if they have no effect.

The runner parses every value as Python: ``2024_01`` becomes 202401, ``a,b`` becomes two values, and ``run#2`` becomes
the string ``run``. It accepts any key, even one whose value is replaced later, and a misspelt argument ends in a
traceback minutes later.
"""

from __future__ import annotations

import ast
import inspect
import json
import pydoc
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from monai.bundle import ConfigComponent, ConfigParser, ConfigWorkflow

from monai_e2e.errors import UserError, did_you_mean
from monai_e2e.work.files import read_json

#: Keys whose value is a file or a folder.
_PATH = re.compile(r"(_dir|checkpoint)$|^weights$")
#: First characters of MONAI's expressions, references and macros.
_SPECIAL = ("$", "@", "%")
#: Keys whose value is the checkpoint that a training starts from.
_STARTS = ("patch_checkpoint", "whole_checkpoint")
_JSON_WORDS = {"true": True, "false": False, "null": None}
#: Words that users type → the key of a training stage that they mean.
_OF_A_STAGE = {
    **{word: word for word in ("lr", "epochs", "weight_decay", "dropout", "schedule", "warmup")},
    **{"learning_rate": "lr", "max_epochs": "epochs", "num_epochs": "epochs"},
}
#: Keys that are on or off. Python takes any text for on, ``no`` too.
SWITCHES = (
    "allow_seen",
    "amp",
    "balanced_sampling",
    "channels_last",
    "checkpoint_activations",
    "compile",
    "federated",
    "is_other_rank",
    "resume",
    "sync_batchnorm",
)
#: Keys that are whole numbers, with their smallest value; and those that may also be null.
_SMALLEST = {
    "accumulation_steps": 1,
    "batch_size": 1,
    "fold": 0,
    "num_threads": 1,
    "num_workers": 0,
    "seed": 0,
    "training_patients": 1,
}
_MAY_BE_NULL = ("fold", "num_threads", "training_patients")
_AMP_DTYPES = ("float16", "bfloat16")
_UNRESOLVED = (RuntimeError, ValueError, LookupError, SyntaxError)


def typed_overrides(words: Sequence[str]) -> dict[str, str]:
    """Keys and values, as text, of all ``--key value`` and ``--key=value`` in the words of a command line."""
    found = {}
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            found[key.replace("-", "_").replace("#", "::")] = value if equals else following
    return found


def command_line() -> list[str]:
    """Words of the command line if MONAI's bundle runner is the program, otherwise none."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return sys.argv[1:] if spec is not None and spec.name == "monai.bundle.__main__" else []


def read_as_typed(workflow: ConfigWorkflow, typed: Mapping[str, str]) -> None:
    """Set paths to the text that was typed, and the strings ``true``, ``false`` and ``null`` to their JSON values.

    Args:
        workflow: its config is parsed, and nothing of it is resolved.
        typed: as :func:`typed_overrides` returns it.

    Raises:
        UserError: when a path begins like one of MONAI's expressions and is not one.
    """
    config: MutableMapping[str, Any] = workflow.parser.get()
    for key, value in list(config.items()):
        if isinstance(value, str) and value in _JSON_WORDS:
            replace(workflow, key, _JSON_WORDS[value])
        elif _PATH.search(key) and (key in typed or isinstance(value, str)):
            text = _as_text(typed[key]) if key in typed else value
            if text in ("None", *_JSON_WORDS):
                continue
            if not text.startswith(_SPECIAL):
                replace(workflow, key, text)
            elif key in typed:
                _check_expression(workflow, key, text)


def replace(workflow: ConfigWorkflow, key: str, value: Any) -> None:
    """Set a top-level key to a value, without any parsing.

    It is set in the config and among the resolved values: parsing the config again would drop what is resolved
    already, and the parser replaces ``#`` in strings by ``::``.
    """
    workflow.parser.get()[key] = value
    workflow.parser.ref_resolver.resolved_content[key] = value


def check_kinds(workflow: ConfigWorkflow) -> None:
    """Refuse plain values of the top level that are of another kind than their keys.

    Raises:
        UserError: when there is one; the message says what is allowed.
    """
    config: Mapping[str, Any] = workflow.parser.get()
    files = [read_json(path) for path in Path(workflow.config_root_path).glob("*.json")]  # as without overrides
    components = {key for file in files for key, value in file.items() if _is_component(value)}
    for key, value in config.items():
        if isinstance(value, str) and value.startswith(_SPECIAL):
            continue
        if key in components and not _is_component(value):
            name = next(iter(value), "…") if isinstance(value, Mapping) else "…"
            raise UserError(
                f"{key} {value!r}: a component, whose arguments are set one by one, as in --{key}#{name} VALUE; to "
                'replace it give a "_target_" too'
            )
        if key in SWITCHES and value not in (True, False):
            raise UserError(f"{key} {value!r}: give true or false")
        smallest = _SMALLEST.get(key)
        if smallest is None or (value is None and key in _MAY_BE_NULL):
            continue
        if type(value) is not int or value < smallest:
            null = ", or null" if key in _MAY_BE_NULL else ""
            raise UserError(f"{key} {value!r}: give a whole number from {smallest} on{null}")
    if (dtype := config.get("amp_dtype", _AMP_DTYPES[0])) not in _AMP_DTYPES:
        raise UserError(f"amp_dtype {dtype!r}: {did_you_mean(dtype, _AMP_DTYPES)}")


def check_run_id(workflow: ConfigWorkflow) -> None:
    """Refuse to run a part of the config that does nothing, such as ``train`` in place of ``training``.

    Raises:
        UserError: when the part to be run has no expression.
    """
    config, name = workflow.parser.get(), workflow.run_id.split("#")[0].split("::")[0]
    if not _acts(config.get(name)):
        actions = [key for key, value in config.items() if isinstance(value, list) and _acts(value)]
        steps = [key for key in actions if key not in ("imports", "initialize", "finalize")]
        raise UserError(f"`run {workflow.run_id}`: no such step; {did_you_mean(name, steps)}")


def refuse_of_a_stage(key: str, value: object) -> None:
    """Refuse a top-level key that belongs to the training stages, such as ``lr``.

    Raises:
        UserError: when it is such a key; the message says how to set it.
    """
    if (name := _OF_A_STAGE.get(key)) is None:
        return
    shorter = ", or end sooner with --train#trainer#max_epochs" if name == "epochs" else ""
    stage = {"name": "…", "trainable": ["*"], "lr": "…", "epochs": "…"} | {name: value}
    text = ", ".join(f'"{word}": {json.dumps(entry, ensure_ascii=False)}' for word, entry in stage.items())
    raise UserError(
        f"unknown key '{key}' (value {value!r}): each training stage has its own; set it in the stages, with "
        f"--stages '[{{{text}}}]'{shorter}"
    )


def refuse_unknown_arguments(parser: ConfigParser) -> None:
    """Refuse arguments that a component's class or function doesn't have, before any component is built.

    Raises:
        UserError: when there is one; the message proposes the nearest known argument.
    """
    for where, component in _components(parser.get()):
        known = _arguments(parser, where, component)
        for name in component:
            if known is not None and name not in known and not re.fullmatch(r"_\w+_", name):
                target = str(component["_target_"]).rpartition(".")[2]
                raise UserError(f"{where}#{name}: {target} has no argument '{name}'; {did_you_mean(name, known)}")


def _components(config: object, where: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    if _is_component(config):
        yield where, config
    if isinstance(config, (Mapping, list)):
        parts = config.items() if isinstance(config, Mapping) else enumerate(config)
        for name, part in parts:
            yield from _components(part, f"{where}#{name}" if where else str(name))


def _arguments(parser: ConfigParser, where: str, component: Mapping[str, Any]) -> list[str] | None:
    """Names of the arguments of a component's target; None if the target is not known or takes any argument."""
    target = ConfigComponent(component, where, parser.locator).resolve_module_name()
    try:
        found = pydoc.locate(target) if isinstance(target, str) else target
        parameters = inspect.signature(found).parameters.values() if callable(found) else ()
    except (ValueError, pydoc.ErrorDuringImport):  # no signature, no such module
        return None
    if not callable(found) or any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [parameter.name for parameter in parameters]


def refuse_without_effect(workflow: ConfigWorkflow, typed: Mapping[str, str]) -> None:
    """Refuse values that are replaced later and so have no effect.

    Raises:
        UserError: when there is one; the message says what to set instead.
    """
    config = workflow.parser.get()
    optimizer = config.get("optimizer")
    for name in ("lr", "weight_decay"):
        if "stages" in config and isinstance(optimizer, Mapping) and name in optimizer:
            raise UserError(
                f"optimizer#{name} {optimizer[name]} has no effect, since each training stage sets its own: set it "
                f'in the stages, with --stages \'[{{"name": …, "{name}": {optimizer[name]}, …}}]\''
            )
    federated = "federated" in config and workflow.parser.get_parsed_content("federated")
    if federated and config.get("resume"):
        raise UserError(
            "resume has no effect in a federation, where each round starts from the server's weights: leave it out"
        )
    given = {key: config[key] for key in _STARTS if federated and config.get(key) is not None}
    for key, value in {**given, **typed}.items():
        part, _, rest = key.partition("::")
        chosen = workflow.parser.get_parsed_content("recipe") if part == "recipes" and "recipe" in config else None
        if chosen is not None and rest.split("::")[0] != chosen:
            raise UserError(f"{key.replace('::', '#')} {value} has no effect: the recipe is '{chosen}'")
        if key in _STARTS and (federated or workflow.run_id == "training"):
            weights = workflow.parser.get_parsed_content("weights")
            if weights != "checkpoint":
                raise UserError(
                    f"{key} {value} has no effect with weights '{weights}': pass --weights checkpoint, or leave it out"
                )


def _as_text(typed: str) -> str:
    """What was typed, without the quotes that the shell left."""
    try:
        value = ast.literal_eval(typed)
    except (ValueError, SyntaxError):
        return typed
    return value if isinstance(value, str) else typed


def _check_expression(workflow: ConfigWorkflow, key: str, text: str) -> None:
    try:
        workflow.parser.get_parsed_content(key)
    except _UNRESOLVED as error:
        raise UserError(
            f"{key} '{text}' can't be resolved: a value that begins with {text[0]} is one of MONAI's expressions; for "
            f"a file or folder of that name write './{text}'"
        ) from error


def _is_component(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping) and "_target_" in value


def _acts(value: object) -> bool:
    """Whether a part of a config can be run: an expression, or a list of expressions and components."""
    if isinstance(value, list):
        return bool(value) and all(_acts(item) or _is_component(item) for item in value)
    return isinstance(value, str) and value.startswith(_SPECIAL)
