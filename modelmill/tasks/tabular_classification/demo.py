"""Demo data for tabular classification: handwritten digits as a table, which scikit-learn ships."""


def tabular_mlp(shards: int) -> dict[str, bytes]:
    """Return a CSV file with a row for each digit, its 8 x 8 grey values by row and column.

    Args:
        shards: Of no effect: there is one file.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    names = [f"p{row}{column}" for row in range(8) for column in range(8)]
    rows = zip(digits.data.astype(int).tolist(), digits.target.tolist(), strict=True)
    lines = [f"{number},{','.join(map(str, values))},{digit}" for number, (values, digit) in enumerate(rows)]
    return {"digits.csv": ("\n".join([f"id,{','.join(names)},digit", *lines]) + "\n").encode()}


DEMOS = {"tabular-mlp": tabular_mlp}
