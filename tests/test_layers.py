"""Imports between packages follow the documented layers."""

import ast
from pathlib import Path

import xmem_infer

PACKAGE = Path(xmem_infer.__file__).parent

# Lowest first; a module may import from its own room and from lower ones.
LEVELS = (
    {"errors"},
    {"types", "interrupts", "user_cache"},
    {"registry"},
    {"config"},
    {"ops"},
    {"model"},
    {"memory"},
    {"io"},
    {"engine", "runtime", "weights"},
    {"interactive", "results"},
    {"predictor"},
    {"propagation"},
    {"outputs", "datasets"},
    {"scoring"},
    {"export"},
    {"evaluate"},
    {"page"},
    {"cli"},
    {"__main__"},
    {"lab"},
)


def level(room):
    return next(number for number, rooms in enumerate(LEVELS) if room in rooms)


def room_of(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def rooms_imported(path):
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level == depth:
                names = [alias.name for alias in node.names if alias.name != "__version__"]  # belongs to no package
                yield from [node.module.split(".")[0]] if node.module else names
            elif node.level == 0 and node.module and node.module.startswith("xmem_infer."):
                yield node.module.split(".")[1]


def test_imports_point_downwards():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        room = room_of(path)
        if room == "__init__":
            continue
        for other in rooms_imported(path):
            allowed = other == room or level(other) < level(room)
            if not allowed:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {other}")
    assert not wrong


def test_imports_are_found():
    assert {"memory", "ops", "model"} <= set(rooms_imported(PACKAGE / "engine" / "engine.py"))


FOREIGN_WORDS = (".cuda(", '"cuda"', "no_grad", "inference_mode", "set_grad_enabled", "torch.compile", "print(")


def test_network_and_memory_name_no_device_and_no_grad_mode():
    for room in ("ops", "model", "memory", "engine"):
        for path in (PACKAGE / room).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            for word in FOREIGN_WORDS:
                assert word not in text, f"{path.relative_to(PACKAGE)} contains {word}"
