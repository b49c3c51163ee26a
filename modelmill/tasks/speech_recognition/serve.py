"""Serve a speech recogniser: the `transcript` of each `audio`, a WAV or FLAC file in base64."""

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from modelmill.tasks.serving.model import folder_of, load_network, on_device, read_json, refusal


class RecognitionModel(PythonModel):
    """Speech recogniser, loaded from a folder with `config.json` and `model.safetensors`.

    One that `config.json` gives a `model_type` is a checkpoint of `transformers`, with its own feature extractor and
    tokenizer.
    """

    def load_context(self, context: Any) -> None:
        """Load the model from `context.artifacts["model"]`, a folder."""
        self.config = read_json(context, "config.json")
        self.listener = None
        if "model_type" not in self.config:
            from modelmill.models.speech.recogniser import Recogniser

            self.network = load_network(context, Recogniser)
            return
        from modelmill.models.speech.listening import Listener, load

        folder = folder_of(context)
        self.listener = Listener(folder)
        self.network = on_device(load(folder))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return a transcript a row.

        Raises:
            MlflowException: A row is not a recording in base64, or has another sample rate than a model that is no
                checkpoint; or it is longer than a checkpoint hears.
        """
        # Recordings are not batched, so that no answer depends on the others.
        return pd.DataFrame({"transcript": [self._hear(text) for text in model_input["audio"]]})

    def _hear(self, text: str) -> str:
        """Return the transcript of one recording.

        Raises:
            MlflowException: See `predict`, or it is longer than the checkpoint hears.
        """
        from modelmill.models.speech.recogniser import hear
        from modelmill.tasks.serving.audio import samples_of

        if self.listener is None:
            return hear(self.network, [samples_of(text, self.config["sample_rate"])], self.config["alphabet"])[0]
        features = self.listener.features
        sound = samples_of(text, features.rate, resample=True)
        if features.longest is not None and len(sound) > features.longest * features.rate:
            raise refusal(
                f"audio: it lasts more than {features.longest:g} s, which is all that the model hears; cut it"
            )
        return self.listener.hear(self.network, [sound])[0]


set_model(RecognitionModel())
