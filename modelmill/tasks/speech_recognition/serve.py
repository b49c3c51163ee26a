"""Serve a speech recogniser: the `transcript` of each `audio`, a WAV or FLAC file in base64."""

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from modelmill.tasks.serving.model import load_network, read_json


class RecognitionModel(PythonModel):
    """Speech recogniser, loaded from a folder with `config.json` and `model.safetensors`."""

    def load_context(self, context: Any) -> None:
        """Load the model from `context.artifacts["model"]`, a folder."""
        from modelmill.models.speech.recogniser import Recogniser

        self.config = read_json(context, "config.json")
        self.network = load_network(context, Recogniser)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return a transcript a row.

        Raises:
            MlflowException: A row is not a recording in base64, or has another sample rate than the model.
        """
        from modelmill.models.speech.recogniser import hear
        from modelmill.tasks.serving.audio import samples_of

        sounds = [samples_of(text, self.config["sample_rate"]) for text in model_input["audio"]]
        # Recordings are not batched, so that no answer depends on the others.
        transcripts = [hear(self.network, [one], self.config["alphabet"])[0] for one in sounds]
        return pd.DataFrame({"transcript": transcripts})


set_model(RecognitionModel())
