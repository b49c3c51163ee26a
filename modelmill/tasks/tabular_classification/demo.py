"""Handwritten digits as tables, which scikit-learn ships."""


def tabular_mlp(shards: int) -> dict[str, bytes]:
    """A row for each digit, its 8 x 8 grey values by row and column. One file is enough, whatever `shards` says."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    names = [f"p{row}{column}" for row in range(8) for column in range(8)]
    rows = zip(digits.data.astype(int).tolist(), digits.target.tolist(), strict=True)
    lines = [f"{number},{','.join(map(str, values))},{digit}" for number, (values, digit) in enumerate(rows)]
    return {"digits.csv": ("\n".join([f"id,{','.join(names)},digit", *lines]) + "\n").encode()}


DEMOS = {"tabular-mlp": tabular_mlp}
