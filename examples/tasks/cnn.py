"""A small convolutional network on scikit-learn's handwritten digits."""

import numpy as np
from sklearn.datasets import load_digits
from torch import nn

name = "digits-cnn"
loss = "cross-entropy"
labels = list("0123456789")
ranges = (0, 16)
learning_rate, steps, batch_size = 0.01, 250, 64


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Linear(64, 10)

    def forward(self, pixels):
        return self.head(self.features(pixels / 16).flatten(1))


model = Model


def data():
    digits = load_digits()
    return digits.images[:, None].astype(np.float32), digits.target
