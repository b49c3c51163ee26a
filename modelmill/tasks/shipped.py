"""The tasks that ship, held against the contract by mypy; nothing of it runs."""

from typing import TYPE_CHECKING, NamedTuple

from modelmill.tasks.contract import (
    CostPart,
    DemoPart,
    EvaluatePart,
    Preprocessing,
    PreprocessPart,
    RecipePart,
    Registering,
    RegisterPart,
    Served,
    TaskPart,
)


class Parts(NamedTuple):
    """The modules of a task's package, and the class that its serving script hands to MLflow."""

    recipe: RecipePart
    preprocess: PreprocessPart
    task: TaskPart
    evaluate: EvaluatePart
    register: RegisterPart
    cost: CostPart
    demo: DemoPart
    served: Served


if TYPE_CHECKING:

    def _character_modeling() -> Parts:
        from modelmill.tasks.character_modeling import cost, demo, evaluate, preprocess, recipe, register, task
        from modelmill.tasks.character_modeling.serve import CharacterModel

        return Parts(recipe, preprocess, task, evaluate, register, cost, demo, CharacterModel())

    def _image_classification() -> Parts:
        from modelmill.tasks.image_classification import cost, demo, evaluate, preprocess, recipe, register, task
        from modelmill.tasks.image_classification.serve import ImageClassifier

        return Parts(recipe, preprocess, task, evaluate, register, cost, demo, ImageClassifier())

    def _image_detection() -> Parts:
        from modelmill.tasks.image_detection import cost, demo, evaluate, preprocess, recipe, register, task
        from modelmill.tasks.image_detection.serve import Detector

        return Parts(recipe, preprocess, task, evaluate, register, cost, demo, Detector())

    def _image_generation() -> Parts:
        from modelmill.tasks.image_generation import cost, demo, evaluate, preprocess, recipe, register, task
        from modelmill.tasks.image_generation.serve import ImageGenerator

        return Parts(recipe, preprocess, task, evaluate, register, cost, demo, ImageGenerator())

    def _language_modeling() -> Parts:
        from modelmill.tasks.language_modeling import cost, demo, evaluate, preprocess, recipe, register, task
        from modelmill.tasks.language_modeling.serve import LanguageModel

        return Parts(recipe, preprocess, task, evaluate, register, cost, demo, LanguageModel())

    def _recommendation() -> Parts:
        from modelmill.tasks.recommendation import cost, demo, evaluate, preprocess, recipe, register, task
        from modelmill.tasks.recommendation.serve import Recommender

        return Parts(recipe, preprocess, task, evaluate, register, cost, demo, Recommender())

    def _speech_enhancement() -> Parts:
        from modelmill.tasks.speech_enhancement import cost, demo, evaluate, preprocess, recipe, register, task
        from modelmill.tasks.speech_enhancement.serve import Enhancer

        return Parts(recipe, preprocess, task, evaluate, register, cost, demo, Enhancer())

    def _speech_recognition() -> Parts:
        from modelmill.tasks.speech_recognition import cost, demo, evaluate, preprocess, recipe, register, task
        from modelmill.tasks.speech_recognition.serve import RecognitionModel

        return Parts(recipe, preprocess, task, evaluate, register, cost, demo, RecognitionModel())

    def _speech_synthesis() -> Parts:
        from modelmill.tasks.speech_synthesis import cost, demo, evaluate, preprocess, recipe, register, task
        from modelmill.tasks.speech_synthesis.serve import SynthesisModel

        return Parts(recipe, preprocess, task, evaluate, register, cost, demo, SynthesisModel())

    def _tabular_classification() -> Parts:
        from modelmill.tasks.tabular_classification import cost, demo, evaluate, preprocess, recipe, register, task
        from modelmill.tasks.tabular_classification.serve import TabularClassifier

        return Parts(recipe, preprocess, task, evaluate, register, cost, demo, TabularClassifier())

    def _text_classification() -> Parts:
        from modelmill.tasks.text_classification import cost, demo, evaluate, preprocess, recipe, register, task
        from modelmill.tasks.text_classification.serve import TextClassifier

        return Parts(recipe, preprocess, task, evaluate, register, cost, demo, TextClassifier())

    def _token_classification() -> Parts:
        from modelmill.tasks.token_classification import cost, demo, evaluate, preprocess, recipe, register, task
        from modelmill.tasks.token_classification.serve import TokenClassifier

        return Parts(recipe, preprocess, task, evaluate, register, cost, demo, TokenClassifier())

    def _translation() -> Parts:
        from modelmill.tasks.translation import cost, demo, evaluate, preprocess, recipe, register, task
        from modelmill.tasks.translation.serve import Translator

        return Parts(recipe, preprocess, task, evaluate, register, cost, demo, Translator())

    def _with_optional_functions() -> tuple[tuple[Preprocessing, ...], tuple[Registering, ...]]:
        from modelmill.tasks.language_modeling import preprocess as text
        from modelmill.tasks.language_modeling import register
        from modelmill.tasks.tabular_classification import preprocess as table

        return (text, table), (register,)
