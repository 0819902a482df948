"""Write docs/python-api.md from the docstrings of the public names: python scripts/api_page.py"""

import argparse
import inspect
from pathlib import Path

import xmem_infer
from xmem_infer.datasets.layouts import LAYOUTS
from xmem_infer.evaluate.run import EXECUTORS
from xmem_infer.export.run import EXPORTERS
from xmem_infer.memory.manager import MEMORIES
from xmem_infer.outputs.writer import OUTPUTS
from xmem_infer.runtime.backends.prepare import BACKENDS
from xmem_infer.scoring.metrics import METRICS
from xmem_infer.weights.build import FAMILIES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "python-api.md"
REGISTRIES = (MEMORIES, FAMILIES, BACKENDS, EXECUTORS, OUTPUTS, LAYOUTS, METRICS, EXPORTERS)
INTRODUCTION = """# Python API

Written from the docstrings by `python scripts/api_page.py`. Names are imported from `xmem_infer`.
O objects, H W pixels.
"""


def page() -> str:
    """The whole page as Markdown."""
    parts = [INTRODUCTION]
    for name in xmem_infer.__all__[1:]:  # the version first
        thing = getattr(xmem_infer, name)
        parts += [f"## {name}\n", _signature(name, thing), _docstring(thing)]
        for key, value in vars(thing).items() if inspect.isclass(thing) else ():
            function = value.__func__ if isinstance(value, classmethod) else value
            if inspect.isfunction(function) and not key.startswith("_"):
                parts += [f"### {name}.{key}\n", _signature(key, function), _docstring(function)]
    parts.append("## What can be added by name\n\n| what | setting | names |\n|---|---|---|")
    for registry in REGISTRIES:
        names = ", ".join(f"`{name}`" for name in registry.names())
        parts.append(f"| {registry.what} | `{registry.key}` | {names} |")
    return "\n".join(parts) + "\n"


def _signature(name: str, thing: object) -> str:
    try:
        signature = str(inspect.signature(thing)) if callable(thing) else ""
    except ValueError:
        return ""
    if inspect.isclass(thing) and (issubclass(thing, Exception) or len(signature) > 400):
        return ""
    text = f"{name}{signature}".replace("xmem_infer.", "").replace("collections.abc.", "").replace("self, ", "")
    return f"```python\n{text}\n```\n"


def _docstring(thing: object) -> str:
    text = inspect.cleandoc(thing.__doc__ or "")
    if text.startswith(f"{getattr(thing, '__name__', '')}("):
        return ""  # what dataclass writes where there is none
    return f"```text\n{text}\n```\n" if "\n" in text else f"{text}\n"


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(page(), encoding="utf-8")
