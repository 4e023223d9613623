"""The user's shelves: programs in `models/`, recipes in `inference/`, found by name or by path.

Nobody imports what stands on a shelf. A listing reads the files without running them, and only
`load_python` and `load_program` execute one, under a private module name.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import os
import sys
import threading
import tomllib
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NoReturn

from bayes_badger.errors import BadgerError, did_you_mean, listed

Kind = Literal["models", "inference"]

PACKAGE = Path(__file__).resolve().parent
SUFFIX: dict[str, str] = {"models": ".py", "inference": ".toml"}
WHAT: dict[str, str] = {"models": "program", "inference": "recipe"}
# What a program's file may define beside the program itself.
OPTIONAL = ("columns", "inputs", "actions", "reward", "world", "evidence")
# Held by the one thread that executes a file: to let it import its siblings, `sys.path` and
# `sys.modules` are changed, and they belong to the whole process.
_EXECUTING = threading.RLock()


@dataclass(frozen=True)
class LoadedProgram:
    """A program as its file defines it.

    Attributes:
        name: What to call it again by: `wave`, or `mine:hierarchy`.
        model: The NumPyro program.
        module: Its file, executed; holds the optional `columns`, `inputs`, `actions`, ...
        path: Where the file is.
        sha256: Of the very bytes that were executed.
        on_shelf: Whether the file came from the shelf `models/`.
    """

    name: str
    model: Callable[..., Any]
    module: ModuleType
    path: Path
    sha256: str
    on_shelf: bool

    def optional(self, name: str) -> Any:
        """What else the file defines, one of `OPTIONAL`; None where it does not."""
        if name not in OPTIONAL:
            raise ValueError(f"a program's file has no '{name}': it is one of {OPTIONAL}")
        return getattr(self.module, name, None)


def shelf(kind: Kind) -> Path:
    """The folder of one shelf: the one packed in the wheel, else the checkout's.

    Raises:
        BadgerError: Where the installation has no such folder.

    Example:
        >>> shelf("models").name
        'models'
    """
    packed = PACKAGE / "_shelves"
    checkout = PACKAGE.parent
    if packed.is_dir():
        folder = packed / kind
    elif checkout.name not in ("site-packages", "dist-packages") and os.path.isfile(
        checkout / "pyproject.toml"
    ):
        folder = checkout / kind
    else:
        raise BadgerError(
            f"this installation of bayes-badger lacks its shelf {kind}/: install it again, or "
            f"give the path of a {WHAT[kind]}"
        )
    if not folder.is_dir():
        raise BadgerError(f"the shelf {folder} does not exist: install bayes-badger again")
    return folder


def names(kind: Kind) -> list[tuple[str, str]]:
    """Lists a shelf: each name with one line about it, read without executing anything.

    Example:
        >>> all(name.isidentifier() for name, _ in names("inference"))
        True
    """
    files = sorted(shelf(kind).glob(f"*{SUFFIX[kind]}"))
    return [(path.stem, _one_line(path)) for path in files if not path.name.startswith(("_", "."))]


def find(kind: Kind, name_or_path: str | Path) -> Path:
    """The file behind a name on the shelf, or behind a path.

    A name on the shelf comes first. What has a slash or the shelf's suffix, or is a file, is a
    path.

    Raises:
        BadgerError: Where there is no such name, or no such file.
    """
    text = os.fspath(name_or_path)
    suffix, what = SUFFIX[kind], WHAT[kind]
    if "\0" in text or not text.strip():
        raise BadgerError(f"{text!r} is not the name or the path of a {what}")
    path = Path(text).expanduser()
    separators = [sep for sep in (os.sep, os.altsep) if sep]
    is_path = isinstance(name_or_path, Path) or any(sep in text for sep in separators)
    if not (is_path or path.suffix in (".py", ".toml")):
        known = {name: shelf(kind) / f"{name}{suffix}" for name, _ in names(kind)}
        if text in known:
            return known[text]
        if not path.is_file():
            raise BadgerError(
                f"no {what} is called '{text}'{did_you_mean(text, known)}; the shelf {kind}/ has "
                f"{listed(known, limit=20) or 'nothing'}; for a file of your own give its path, "
                f"as in ./{text}{suffix}"
            )
    if path.is_dir():
        raise BadgerError(f"{text} is a folder: give the path of one {what} ({suffix})")
    if not path.is_file():
        hint = ""
        if not is_path and path.suffix == suffix:
            close = did_you_mean(path.stem, [name for name, _ in names(kind)])
            hint = close and f"; a name on the shelf is given without {suffix}{close}"
        beside = [p.name for p in path.parent.glob(f"*{suffix}")] if path.parent.is_dir() else []
        hint = hint or did_you_mean(path.name, beside)
        raise BadgerError(f"there is no file {text}{hint}")
    if path.suffix != suffix:
        raise BadgerError(f"{text} is not a {what}: its name would end in {suffix}")
    return path.resolve()


def load_python(path: Path) -> ModuleType:
    """Executes a user's file under a private module name.

    The file may import its siblings, as under `python file.py`, while it is loaded; afterwards
    neither its folder nor its siblings are importable, so that files of two folders never meet.

    Raises:
        BadgerError: Whatever goes wrong in the file, in one line with file and line number.
    """
    with _EXECUTING:
        return _execute(path, _read(path))


def load_program(name_or_path: str | Path) -> LoadedProgram:
    """Loads a program: by name, by path, or one function of a file after a colon.

    The program is the function called `model`; or the one named after the colon, as in
    `mine.py:hierarchy`; or else the only public function that the file defines, apart from
    `inputs`, `actions`, `reward`, `world` and `evidence`.

    Raises:
        BadgerError: Where there is no such file or function, or the choice is not clear.
    """
    path, function = find_program(name_or_path)
    source = _read(path)
    on_shelf = _on_shelf(path)
    with _EXECUTING:
        module = _shelved(path, source) if on_shelf else _execute(path, source)
    defined = [name for name in functions_of(source) if callable(getattr(module, name, None))]
    known = [*defined, *(["model"] if callable(getattr(module, "model", None)) else [])]
    chosen = choose(path, function, known)
    model = getattr(module, chosen, None)
    if not callable(model):
        refuse_function(path, chosen, defined)
    return LoadedProgram(
        name=called(path, function),
        model=model,
        module=module,
        path=path,
        sha256=hashlib.sha256(source).hexdigest(),
        on_shelf=on_shelf,
    )


def find_program(name_or_path: str | Path) -> tuple[Path, str]:
    """The file of a program, and the function that is named after a colon, empty where none is.

    Raises:
        BadgerError: Where there is no such file.
    """
    text = os.fspath(name_or_path)
    before, colon, function = text.rpartition(":")
    if not colon or os.path.isfile(text):
        before, function = text, ""
    elif not before or not function.isidentifier():
        raise BadgerError(f"'{text}': after the colon stands the name of one function of the file")
    return find("models", Path(before) if isinstance(name_or_path, Path) else before), function


def called(path: Path, function: str) -> str:
    """What a program is called in messages and runs: `wave`, or `mine:hierarchy`."""
    return f"{path.stem}:{function}" if function and function != "model" else path.stem


def choose(path: Path, function: str, known: Sequence[str]) -> str:
    """The name of the function that is the program.

    Args:
        path: The file.
        function: The one that was named; empty for none.
        known: Functions that the file defines, and "model" if it has something of that name.

    Raises:
        BadgerError: Where the choice is not clear.
    """
    if function:
        return function
    if "model" in known:
        return "model"
    if len(known) == 1:
        return known[0]
    if not known:
        raise BadgerError(f"{path.name} defines no program: write def model(x, y=None): ...")
    raise BadgerError(
        f"{path.name} defines {len(known)} functions ({listed(known)}): call one of "
        f"them model, or name it after a colon, as in {path.name}:{known[0]}"
    )


def refuse_function(path: Path, function: str, defined: Sequence[str]) -> NoReturn:
    """Refuses the name of a function that a file does not have.

    Raises:
        BadgerError: With the closest name.
    """
    raise BadgerError(
        f"{path.name} has no function '{function}'{did_you_mean(function, defined)}; it has "
        f"{listed(defined) or 'none'}"
    )


def functions_of(source: bytes) -> list[str]:
    """Public functions that a file itself defines, decorated ones included, by its text."""
    body = ast.parse(source).body
    defined = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    return [
        name for name in dict.fromkeys(defined) if not name.startswith("_") and name not in OPTIONAL
    ]


def parsed(path: Path) -> tuple[bytes, ast.Module]:
    """A user's file as bytes and as a syntax tree; nothing is executed.

    Raises:
        BadgerError: Where it cannot be read or is not Python, with line and column.
    """
    source = _read(path)
    try:
        compile(source, str(path), "exec", dont_inherit=True)
        return source, ast.parse(source)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise BadgerError(_told(error, path)) from error


@functools.lru_cache
def _shelved(path: Path, source: bytes) -> ModuleType:
    """A program of the shelf is executed once, so that what was compiled for it is found again.

    A file of the user's is executed each time: it may read others, which may have changed.
    """
    return _execute(path, source)


def _on_shelf(path: Path) -> bool:
    try:
        return path.parent == shelf("models").resolve()
    except BadgerError:
        return False


def _one_line(path: Path) -> str:
    """A program's docstring or a recipe's `about`; a broken file says that it is broken."""
    try:
        if path.suffix == ".toml":
            text = tomllib.loads(path.read_text(encoding="utf-8")).get("about", "")
        else:
            text = ast.get_docstring(ast.parse(path.read_bytes())) or ""
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        return f"(cannot be read: {_first_line(error)})"
    return str(text).strip().partition("\n")[0]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadgerError(f"{path} cannot be read: {error.strerror or error}") from error


def _execute(path: Path, source: bytes) -> ModuleType:
    path = path.resolve()
    private = f"_badger_{path.stem}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
    module = ModuleType(private)
    module.__file__ = str(path)
    # Dataclasses, hence equinox modules, look their own module up by name: it must be there.
    previous = sys.modules.get(private)
    sys.modules[private] = module
    try:
        with _importable(path.parent):
            exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    except BaseException as error:
        sys.modules.pop(private)
        if previous is not None:
            sys.modules[private] = previous
        if isinstance(error, Exception | SystemExit) and not isinstance(error, BadgerError):
            raise BadgerError(_told(error, path)) from error
        raise
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Lets a file import its siblings, and forgets them afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        siblings: list[str] = []
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            top = name.partition(".")[0]
            if top not in before and _is_sibling(sys.modules.get(top), top, folder):
                siblings.append(name)
        for name in siblings:
            del sys.modules[name]


def _is_sibling(module: ModuleType | None, name: str, folder: Path) -> bool:
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
    here = (folder / name, folder / f"{name}.py", folder / name / "__init__.py")
    return any(place and Path(place) in here for place in places)


def _told(error: BaseException, path: Path) -> str:
    """One line on what went wrong in a user's file, with the line where it did."""
    if isinstance(error, SyntaxError):
        return f"{error.filename or path}:{error.lineno or 1}: {error.msg}{_caret(error)}"
    # The innermost frame that is the user's own: the file, or a sibling of it.
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).parent == path.parent
    ]
    where = f"{own[-1].filename}:{own[-1].lineno}" if own else str(path)
    if isinstance(error, ImportError):
        return f"{where}: {_first_line(error)}"
    return f"{where}: {type(error).__name__}: {_first_line(error)}"


def _caret(error: SyntaxError) -> str:
    """The line with the mistake, on one line with a caret before what is wrong."""
    line = (error.text or "").rstrip()
    column = (error.offset or 0) - 1
    if not line.strip() or not 0 <= column <= len(line):
        return ""
    return f", at the ^ in: {f'{line[:column]}^{line[column:]}'.strip()}"


def _first_line(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return (text or type(error).__name__).strip().partition("\n")[0]
