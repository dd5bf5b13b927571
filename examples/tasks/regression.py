"""A regression: how diabetes went on a year later, from scikit-learn's ten measurements. Targets are scaled in the graph's stead: /100."""

import numpy as np
from sklearn.datasets import load_diabetes
from torch import nn

name = "diabetes"
loss = "mean-squared-error"
labels = ["progression"]
learning_rate, steps, batch_size = 0.005, 60, 32


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, measured):
        return self.layers(measured * 20) + 1.5


model = Model


def data():
    x, y = load_diabetes(return_X_y=True)
    return x.astype(np.float32), (y[:, None] / 100).astype(np.float32)
