"""The KFP faces of the report, and of steps that were finished before the run began.

The report is the pipeline's exit handler, so it runs however the run ends.
"""

from kfp import dsl

from modelmill.core.image import image_of


@dsl.component(base_image=image_of("reporting"), install_kfp_package=False)
def reporting(recipe: str, store: str, run_id: str, report: dsl.Output[dsl.HTML]) -> None:
    """Say how the run ended in `outcome.json` and show it on one HTML page.

    Args:
        recipe: The recipe's key in the store.
        store: URI of the object store.
        run_id: The run to report on.
        report: The page, one self-contained file.
    """
    from modelmill.components.reporting.step import run

    run(recipe=recipe, store=store, run_id=run_id, report=report.path)


@dsl.component(base_image=image_of("reporting"), install_kfp_package=False)
def finished_steps(
    recipe: str,
    store: str,
    run_id: str,
    finished: dict,
    data_validation_dataset: dsl.Output[dsl.Artifact],
    data_validation_validation: dsl.Output[dsl.Artifact],
    preprocessing_corpus: dsl.Output[dsl.Artifact],
    pretraining_model: dsl.Output[dsl.Artifact],
    fine_tuning_model: dsl.Output[dsl.Artifact],
    evaluation_evaluation: dsl.Output[dsl.Artifact],
) -> None:
    """Record the finished steps of a run as reused, and hand on what they made.

    Args:
        recipe: The recipe's key in the store.
        store: URI of the object store.
        run_id: The run.
        finished: The steps' keys, by step.
        data_validation_dataset: The dataset; this and the others are empty where their step is not finished.
        data_validation_validation: The validation's result.
        preprocessing_corpus: The corpus.
        pretraining_model: The pretrained model.
        fine_tuning_model: The fine-tuned model.
        evaluation_evaluation: The evaluation.
    """
    from modelmill.components.reporting.finished import reuse

    outputs = {
        "data_validation.dataset": data_validation_dataset.path,
        "data_validation.validation": data_validation_validation.path,
        "preprocessing.corpus": preprocessing_corpus.path,
        "pretraining.model": pretraining_model.path,
        "fine_tuning.model": fine_tuning_model.path,
        "evaluation.evaluation": evaluation_evaluation.path,
    }
    reuse(recipe=recipe, store=store, run_id=run_id, finished=finished, outputs=outputs)


@dsl.component(base_image=image_of("reporting"), install_kfp_package=False)
def finished_run(
    recipe: str,
    store: str,
    run_id: str,
    finished: dict,
    report: dsl.Output[dsl.HTML],
) -> None:
    """Record all steps of a run as reused, and report on it.

    Args:
        recipe: The recipe's key in the store.
        store: URI of the object store.
        run_id: The run.
        finished: The steps' keys, by step.
        report: The page, one self-contained file.
    """
    from modelmill.components.reporting.finished import reuse_all

    reuse_all(recipe=recipe, store=store, run_id=run_id, finished=finished, report=report.path)
