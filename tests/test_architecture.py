"""The rules of the house, held by looking at every file."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = sorted((ROOT / "retina").rglob("*.py"))
ENTRY_POINTS = [ROOT / "train.py", ROOT / "evaluate.py", *sorted((ROOT / "tools").glob("*.py"))]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
EVERYTHING = [*LIBRARY, *ENTRY_POINTS, *TESTS, *sorted((ROOT / "benchmarks").rglob("*.py"))]

# Who may import whom: a part imports only what stands on a lower level, and itself; parts of one level never import
# each other. Ring 1 trains and evaluates, ring 2 is everything around it; ring 1 imports ring 2 inside functions only,
# where a run asks for it.
RING_1 = [
    {"ranges", "errors", "structures", "boxes"},
    {"settings", "files", "distributed"},
    {"machine"},
    {"config"},
    {"build"},
    {"data", "models", "detection"},
    {"drawing"},
    {"evaluation"},
    {"training"},
    {"detector"},
    {"commands"},
]
RING_2 = [{"download", "anchors", "formats", "lab", "benchmark"}, {"doctor"}]
LEVELS = RING_1 + RING_2
# What runs arbitrary code, reads pickles, or ends the process from inside the library.
FORBIDDEN_CALLS = {"eval", "exec", "pickle.load", "pickle.loads", "sys.exit", "exit", "quit", "os._exit", "os.system"}
CONFIG_LIBRARIES = {"hydra", "omegaconf"}
PARALLEL = {"configs": {"model": "models", "optimizer": "training", "schedule": "training", "dataset": "data",
                        "augment": "data", "sampling": "data", "anchors": "detection",
                        "loss": "detection"}}  # fmt: skip


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(path: Path, *, at_once: bool = False) -> Iterator[str]:
    """Yield the full names of the imported modules, ``from a import b`` as ``a.b``; ``at_once``: not in functions."""
    for node in _tree(path).body if at_once else ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _part(dotted: str) -> str | None:
    """Return the part of the library that a full name belongs to: ``retina.data.dataset`` is of ``data``."""
    names = dotted.split(".")
    return names[1] if names[0] == "retina" and len(names) > 1 else None


def _part_of_file(path: Path) -> str:
    return path.relative_to(ROOT / "retina").parts[0].removesuffix(".py")


def _level(part: str) -> int | None:
    return next((level for level, parts in enumerate(LEVELS) if part in parts), None)


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _public_definitions(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """Yield the public functions, classes and methods of a module with their names."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in _tree(path).body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            yield node.name, node
            for member in node.body if isinstance(node, ast.ClassDef) else []:
                if isinstance(member, kinds) and not member.name.startswith("_") and not _is_override(member):
                    yield f"{node.name}.{member.name}", member


def _is_override(node: ast.AST) -> bool:
    """Return whether a method takes its meaning, and its docstring, from an interface; a property may say it itself."""
    is_property = any(_dotted(decorator).endswith("property") for decorator in getattr(node, "decorator_list", ()))
    if is_property and len(getattr(node, "body", ())) == 1:
        return True
    theirs = {"apply", "apply_to_bboxes", "get_params", "get_params_dependent_on_data"}  # albumentations'
    theirs |= {"forward", "extra_repr", "train", "per_box", "present", "miss", "additive", "holds", "sentence"}
    return getattr(node, "name", "") in theirs | _interface_methods()


@cache
def _interface_methods() -> set[str]:
    """Return the methods that a Protocol or an abstract class of the library explains."""
    return {
        member.name
        for path in LIBRARY
        for node in _tree(path).body
        if isinstance(node, ast.ClassDef) and _is_interface(node)
        for member in node.body
        if isinstance(member, ast.FunctionDef) and ast.get_docstring(member)
    }


def _is_interface(node: ast.ClassDef) -> bool:
    decorators = {_dotted(each) for member in node.body for each in getattr(member, "decorator_list", ())}
    return "Protocol" in {_dotted(base) for base in node.bases} or "abstractmethod" in decorators


def test_every_file_is_looked_at() -> None:
    assert len(LIBRARY) >= 60
    assert len(ENTRY_POINTS) >= 3
    assert len(TESTS) >= 40


def test_only_the_configuration_package_knows_of_hydra() -> None:
    looked_at = [path for path in LIBRARY if _part_of_file(path) != "config"]
    assert len(looked_at) >= 45
    guilty = [_name(p) for p in looked_at if {name.split(".")[0] for name in _imports(p)} & CONFIG_LIBRARIES]
    assert set(guilty) == set()


def test_imports_go_down_only() -> None:
    looked_at, guilty = 0, []
    num_ring_1 = len(RING_1)
    for path in LIBRARY:
        own = _part_of_file(path)
        if own == "__init__":
            continue
        limit = _level(own)
        assert limit is not None, f"{own} stands on no level: add it to LEVELS"
        looked_at += 1
        at_once = set(_imports(path, at_once=True))
        for imported in _imports(path):
            part = _part(imported)
            level = None if part in (None, own) else _level(str(part))
            if level is None or level < limit:
                continue
            if limit < num_ring_1 <= level and imported not in at_once:
                continue  # a feature of ring 2, imported where a run asks for it
            guilty.append(f"{_name(path)} imports {imported}")
    assert looked_at >= 60
    assert set(guilty) == set()


def test_no_module_imports_itself_in_the_end() -> None:
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in LIBRARY}
    needed: dict[str, set[str]] = {}
    for name, path in names.items():
        found = {each if each in names else each.rpartition(".")[0] for each in _imports(path)}
        needed[name] = {each for each in found if each in names and each != name}
    assert sum(map(len, needed.values())) >= 300
    while free := {name for name, others in needed.items() if not others & needed.keys()}:
        needed = {name: others for name, others in needed.items() if name not in free}
    assert sorted(needed) == []  # what is left stands in a circle, or needs one


def _spine() -> list[Path]:
    """The files of the table at the top of docs/design.md."""
    table = (ROOT / "docs" / "design.md").read_text(encoding="utf-8").split("## Two rings")[0]
    return [ROOT / "retina" / name for name in re.findall(r"`([\w/]+\.py)`", table)]


def test_the_spine_is_read_in_an_afternoon() -> None:
    files = _spine()
    assert len(files) >= 25
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files) <= 4200


def _imported_by(*modules: str) -> set[Path]:
    """The files of the library that importing ``modules`` imports in turn, wherever in a file the import stands."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in LIBRARY}
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in names:  # a name that a module defines: its module counts
            module = module.rpartition(".")[0]
        if module in names and module not in seen:
            seen.add(module)
            waiting += _imports(names[module])
    return {names[module] for module in seen}


def test_a_training_imports_ring_1_only_and_little_of_it() -> None:
    files = _imported_by("retina.commands.train", "retina.config.command")
    ring_2 = {part for parts in RING_2 for part in parts}
    assert len(files) >= 60
    assert {_name(path) for path in files if _part_of_file(path) in ring_2} == set()
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files) <= 11_500


@pytest.mark.slow
def test_a_training_of_the_embedded_data_set_loads_no_module_of_ring_2(small, tmp_path) -> None:
    words = [*small, "train.max_steps=1", f"run_dir={tmp_path / 'run'}"]
    code = (
        "import sys\nfrom retina.config.command import run_command\n"
        f"status = run_command('train', {words!r})\n"
        "print(status, sorted(name for name in sys.modules if name.startswith('retina.')), sep='|')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240)
    status, loaded = done.stdout.splitlines()[-1].split("|")
    assert status == "0", done.stderr
    assert "retina.training.step" in loaded
    ring_2 = {f"retina.{part}" for parts in RING_2 for part in parts}
    assert {name for name in ast.literal_eval(loaded) if ".".join(name.split(".")[:2]) in ring_2} == set()


def test_the_library_does_not_import_the_entry_points() -> None:
    entries = {path.stem for path in ENTRY_POINTS} | {"tools", "tests"}
    guilty = [f"{_name(p)} imports {n}" for p in LIBRARY for n in _imports(p) if n.split(".")[0] in entries]
    assert guilty == []


def test_what_is_read_before_torch_does_not_import_it() -> None:
    # Everything that runs before the first mistake is told; importing torch takes seconds.
    early = [*(ROOT / "retina" / "config").glob("*.py")]
    early += [ROOT / "retina" / f"{name}.py" for name in ("__init__", "errors", "ranges", "settings", "build")]
    assert len(early) >= 14
    heavy = {"torch", "torchvision", "albumentations", "cv2", "numpy"}
    light = {"config", "errors", "ranges", "settings", None}
    guilty = []
    for path in early:
        for name in _imports(path, at_once=True):
            if name.split(".")[0] in heavy or (name.startswith("retina.") and _part(name) not in light):
                guilty.append(f"{_name(path)} imports {name}")
    assert guilty == []


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in EVERYTHING}
    assert len(lengths) >= 100
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_functions_have_at_most_40_lines() -> None:
    looked_at, guilty = 0, []
    for path in [*LIBRARY, *ENTRY_POINTS]:
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.FunctionDef):
                looked_at += 1
                first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
                length = (node.end_lineno or 0) - first.lineno + 1
                if length > 40:
                    guilty.append(f"{_name(path)}: {node.name} has {length} lines")
    assert looked_at >= 300
    assert guilty == []


def test_packages_have_empty_init_files() -> None:
    inits = [path for path in LIBRARY if path.name == "__init__.py" and path.parent != ROOT / "retina"]
    assert len(inits) >= 6
    assert [_name(path) for path in inits if path.read_text(encoding="utf-8").strip()] == []
    assert [_name(path) for path in TESTS if path.name == "__init__.py"] == []


def test_everything_public_has_a_docstring() -> None:
    looked_at, guilty = 0, []
    for path in LIBRARY:
        if path.name != "__init__.py" and not ast.get_docstring(_tree(path)):
            guilty.append(_name(path))
        for name, node in _public_definitions(path):
            looked_at += 1
            if not ast.get_docstring(node):  # type: ignore[arg-type]
                guilty.append(f"{_name(path)}: {name}")
    assert looked_at >= 150
    assert guilty == []


def test_every_test_of_a_package_stands_beside_its_module() -> None:
    packages = {path.parent.name for path in LIBRARY if path.name == "__init__.py"} - {"retina"}
    folders = [path for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name in packages]
    assert len(folders) >= 6


def test_every_group_of_configurations_configures_a_package() -> None:
    groups = {path.name for path in (ROOT / "configs").iterdir() if path.is_dir()} - {"recipe", "experiment"}
    assert groups == set(PARALLEL["configs"])
    for group, package in PARALLEL["configs"].items():
        files = sorted((ROOT / "configs" / group).rglob("*.yaml"))
        assert files, group
        text = "\n".join(path.read_text(encoding="utf-8") for path in files)
        assert f"_target_: retina.{package}." in text, f"configs/{group} has no target in retina/{package}"


@pytest.mark.parametrize("path", [*LIBRARY, *ENTRY_POINTS], ids=_name)
def test_nothing_runs_code_from_data_or_ends_the_process(path: Path) -> None:
    guilty = []
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Call):
            name = _dotted(node.func)
            if name in FORBIDDEN_CALLS and not (name == "sys.exit" and path in ENTRY_POINTS):
                guilty.append(f"line {node.lineno}: {name}")
            for keyword in node.keywords:
                unsafe = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg == "weights_only" and unsafe:
                    guilty.append(f"line {node.lineno}: weights_only=False")
            if name == "torch.load" and "weights_only" not in {keyword.arg for keyword in node.keywords}:
                guilty.append(f"line {node.lineno}: torch.load without weights_only=True")
        # Cleaning up and raising again is not catching.
        if isinstance(node, ast.ExceptHandler) and not isinstance(node.body[-1], ast.Raise):
            caught = [node.type] if node.type is None or not isinstance(node.type, ast.Tuple) else node.type.elts
            if any(item is None or _dotted(item) in ("Exception", "BaseException") for item in caught):
                guilty.append(f"line {node.lineno}: catches everything")
    assert guilty == []


def test_names_of_drawers_and_nobodies_are_not_used() -> None:
    drawers = {"utils", "util", "misc", "common", "core", "helpers", "helper"}
    parts = {part.removesuffix(".py") for path in LIBRARY for part in path.relative_to(ROOT).parts}
    assert parts & drawers == set()
    nobodies = {"cfg", "args", "data", "tmp"}
    guilty = []
    for path in LIBRARY:
        theirs = {
            argument
            for node in ast.walk(_tree(path))
            if isinstance(node, ast.FunctionDef) and node.name == "get_params_dependent_on_data"
            for argument in node.args.args
        }  # albumentations calls it with these names
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in nobodies:
                guilty.append(f"{_name(path)} line {node.lineno}: {node.id}")
            if isinstance(node, ast.arg) and node.arg in nobodies and node not in theirs:
                guilty.append(f"{_name(path)} line {node.lineno}: {node.arg}")
    assert guilty == []


def test_tools_hand_on_the_exit_status() -> None:
    for path in ENTRY_POINTS:
        text = path.read_text(encoding="utf-8")
        assert "sys.exit(" in text, f"{_name(path)} does not hand on its exit status"
