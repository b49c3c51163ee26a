"""The code of a served model: its task's `serve.py`, and every module of Modelmill or of the task that it imports.

MLflow runs it where Modelmill is not installed, or is of another version. So the modules travel with the script, in a
package of their own name: two served models in one process, or one beside an installed Modelmill, do not meet. Only
import statements are changed, from `modelmill.x` to `served_0123456789ab.modelmill.x`.
"""

import re
from functools import cache

from modelmill.core import digest
from modelmill.core.errors import ModelmillError
from modelmill.recipe import step_code, task_packages

SCRIPT = task_packages.SERVE
FOLDER = "code"
_CHARACTERS = 12


@cache
def files(task: str) -> dict[str, bytes]:
    """Return the script and the modules that it imports, by their path in the package that MLflow is given.

    Args:
        task: The task's name.

    Raises:
        ModelmillError: The script imports a module whose changes do not make registration run again.
    """
    package = task_packages.packages()[task]
    tops = (step_code.LIBRARY, package.partition(".")[0])
    script = f"{package}.{SCRIPT.removesuffix('.py')}"
    modules = step_code.reachable([script], tops)
    if others := sorted(filter(step_code.is_neutral, step_code.reachable([script], tops, with_neutral=True))):
        raise ModelmillError(f"task {task}: {SCRIPT} imports {others[0]}, which a served model cannot hold")
    sources = {name: file.read_text("utf-8") for name, file in modules.items()}
    own = re.compile(rf"^(\s*(?:from|import) +)(?=(?:{'|'.join(map(re.escape, tops))})\b)", re.MULTILINE)
    name = f"served_{digest.of_json(sources)[:_CHARACTERS]}"
    shipped = {}
    for module, source in sources.items():
        place = module.replace(".", "/") + ("/__init__.py" if modules[module].name == "__init__.py" else ".py")
        path = SCRIPT if module == script else f"{FOLDER}/{name}/{place}"
        shipped[path] = own.sub(rf"\g<1>{name}.", source).encode()
    return shipped
