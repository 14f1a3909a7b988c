"""The types of `usu.explain` are of the function as it is; tests/typed_lines.py holds what they say."""

import ast
import inspect
from pathlib import Path

import usu
from usu.pipeline import explain


def test_the_types_are_of_the_function_as_it_is():
    stub = ast.parse(Path(usu.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    written = [node.args for node in ast.walk(stub) if isinstance(node, ast.FunctionDef)]
    assert len(written) == 4
    parameters = inspect.signature(explain).parameters
    keywords = [p for p in parameters.values() if p.kind is p.KEYWORD_ONLY]
    for arguments in written:
        assert [one.arg for one in arguments.args] == ["model", "inputs", "target"]
        assert [one.arg for one in arguments.kwonlyargs] == [one.name for one in keywords]
        assert [ast.literal_eval(one) for one in arguments.kw_defaults] == [one.default for one in keywords]
