"""Fisher's iris, which scikit-learn ships."""


def tabular_mlp(shards: int) -> dict[str, bytes]:
    """Small enough for one file, whatever `shards` says."""
    from sklearn.datasets import load_iris

    iris = load_iris()
    names = [str(iris.target_names[target]) for target in iris.target]
    kept = [(row, name) for row, name in zip(iris.data, names, strict=True) if name != "setosa"]
    lines = [f"{i},{row[2]:.1f},{row[3]:.1f},{name}" for i, (row, name) in enumerate(kept)]
    return {"iris.csv": ("\n".join(["id,petal_length,petal_width,species", *lines]) + "\n").encode()}


DEMOS = {"tabular-mlp": tabular_mlp}
