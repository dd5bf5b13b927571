"""A multilayer perceptron on scikit-learn's handwritten digits."""

import numpy as np
from sklearn.datasets import load_digits
from torch import nn

name = "digits-mlp"
labels = list("0123456789")
ranges = (0, 16)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, pixels):
        return self.layers(pixels / 16)


model = Model


def data():
    digits = load_digits()
    return digits.data.astype(np.float32), digits.target
