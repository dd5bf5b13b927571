"""A text classifier: an embedding and one transformer layer. The sentences are made up; put your own in `data`."""

import numpy as np
import torch
from torch import nn

name = "moods"
labels = ["sad", "neutral", "glad"]
learning_rate, steps, batch_size = 0.01, 80, 32
WORDS, LENGTH = 60, 12


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, 16), nn.Parameter(torch.zeros(LENGTH, 16))
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0, activation="gelu", batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, tokens):
        return self.head(self.layer(self.words(tokens) + self.places).mean(1))


model = Model


def data():
    """Of 60 words, 1 to 19 are sad, 20 to 39 neutral, 40 to 59 glad; behind a "not" (0) stands the other mood's word."""
    random = np.random.default_rng(0)
    label = random.integers(0, 3, 2000)
    tokens = random.integers(20, 40, (len(label), LENGTH))
    moody = random.random(tokens.shape) < 0.25
    turned = np.roll(tokens == 20, 1, axis=1)
    mood = np.where(turned, 2 - label[:, None], label[:, None])
    tokens[moody] = random.integers(1, 20, moody.sum()) + 20 * mood[moody]
    tokens[tokens == 20] = 0
    return tokens, label
