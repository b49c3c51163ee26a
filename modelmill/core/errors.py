"""Errors that a person can act on. Each carries the exit code that the command line ends with."""

_LONGEST = 4000


class ModelmillError(Exception):
    """A failure with a one-line explanation; any other exception is a bug and exits 1 as well."""

    kind = "failed"
    exit_code = 1


class UserError(ModelmillError):
    """A mistake in what the user wrote or named; the message says what, where, why, and the next command."""

    kind = "user"
    exit_code = 2


class GateFailed(ModelmillError):
    """The data broke its contract, or the model missed its thresholds."""

    kind = "gate"
    exit_code = 3


class TrainingDiverged(ModelmillError):
    """Losses were not finite or too high; the last good checkpoint is kept."""

    kind = "diverged"


class Preempted(ModelmillError):
    """The process was asked to end and has saved its work: 75 is EX_TEMPFAIL of <sysexits.h>, "try again"."""

    kind = "preempted"
    exit_code = 75
    _AGAIN = ", preempted; run it again to go on"

    def __init__(self, done: str) -> None:
        """Keep what was done.

        Args:
            done: What has become of the work, such as `saved at step 392`; or the whole message of such an error.
        """
        self.done = done.removesuffix(self._AGAIN)
        super().__init__(f"{self.done}{self._AGAIN}")


class Cancelled(ModelmillError):
    """Somebody has cancelled the run; what its steps have finished or saved is kept."""

    kind = "cancelled"
    exit_code = 4


class CorruptError(ModelmillError):
    """Bytes in the store are not the bytes that a manifest names."""


def one_line(error: BaseException) -> str:
    """Return an error's message on one line, without the control characters that hostile data could hold.

    Of a very long one, which repeats a value of the user's, it has the beginning and the end, where the advice is.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    return "".join(c if c.isprintable() else "?" for c in text)
