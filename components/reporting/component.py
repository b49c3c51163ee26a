"""The KFP face of the report; the pipeline's exit handler, so it runs however the run ends."""

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
