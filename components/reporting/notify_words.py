"""The words of a notification, in each channel's format."""

from dataclasses import dataclass
from typing import Any

from modelmill.components.reporting.outcome import CANCELLED, GATE_FAILED, REGISTERED
from modelmill.core.errors import one_line
from modelmill.runtime.step_log import without_secrets

_TITLE_CHARACTERS, _TEXT_CHARACTERS = 140, 1500
_SIGNS = {REGISTERED: "OK", GATE_FAILED: "GATE FAILED", CANCELLED: "CANCELLED"}


@dataclass(frozen=True)
class Message:
    """A run's outcome as text that is safe in any header: one line a row, without secrets, of bounded length.

    Attributes:
        title: The title.
        rows: Lines by their labels.
        document: The body for the webhook.
    """

    title: str
    rows: dict[str, str]
    document: dict[str, Any]

    @classmethod
    def of(cls, recipe: str, outcome: dict[str, Any]) -> "Message":
        """Return the message about an outcome.

        Args:
            recipe: The recipe's name.
            outcome: The document of `outcome.json`.
        """
        model = outcome.get("model") or {}
        rows = {
            "Outcome": outcome["outcome"],
            "Recipe": recipe,
            "Run": outcome["run_id"],
            "Model": " ".join(str(model[key]) for key in ("name", "version") if key in model),
            "Failed step": outcome["failed_step"],
            "Reason": outcome["reason"],
            "Report": outcome["report"],
            "Resume": "" if outcome["outcome"] == REGISTERED else outcome["resume"],
        }
        shown = {name: _clean(value) for name, value in rows.items() if value}
        title = f"[{_SIGNS.get(outcome['outcome'], 'FAILED')}] {shown.get('Recipe', 'run')} {shown['Run']}"
        document = {key: _clean(value) if isinstance(value, str) else value for key, value in outcome.items()}
        document |= {"event": "run.ended", "schema_version": 1, "recipe": _clean(recipe)}
        return cls(title[:_TITLE_CHARACTERS], shown, document)

    @property
    def text(self) -> str:
        """The message as plain text, for people."""
        return "\n".join(f"{name}: {value}" for name, value in self.rows.items()) + "\n"

    @property
    def slack(self) -> dict[str, Any]:
        """The body for a Slack incoming webhook; all is plain text, so nothing in it is markup, a link or a mention."""
        blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(self.title)}]
        blocks += [{"type": "section", "text": _plain(f"{name}: {value}")} for name, value in self.rows.items()]
        # Slack treats the text of a phone's notification as markup, always.
        shown = self.title.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return {"text": shown, "blocks": blocks}


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}


def _clean(value: Any) -> str:
    return one_line(Exception(without_secrets(str(value))))[:_TEXT_CHARACTERS]
