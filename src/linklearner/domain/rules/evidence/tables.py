"""The loss tables of rule `evidence`. Written by tools/loss_tables.py: do not edit."""

import base64
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

# fmt: off
EXP: Final[NDArray[np.int64]] = np.array(
    [
        65535, 63519, 61564, 59670, 57834, 56055, 54330, 52659, 51039, 49468, 47946, 46471, 45042, 43656, 42313, 41011,
        39749, 38526, 37341, 36192, 35078, 33999, 32953, 31939, 30957, 30004, 29081, 28186, 27319, 26479, 25664, 24874,
        24109, 23367, 22648, 21951, 21276, 20622, 19987, 19372, 18776, 18198, 17639, 17096, 16570, 16060, 15566, 15087,
        14623, 14173, 13737, 13314, 12905, 12508, 12123, 11750, 11388, 11038, 10698, 10369, 10050, 9741, 9441, 9151,
        8869, 8596, 8332, 8075, 7827, 7586, 7353, 7127, 6907, 6695, 6489, 6289, 6096, 5908, 5726, 5550, 5379, 5214,
        5054, 4898, 4747, 4601, 4460, 4323, 4190, 4061, 3936, 3815, 3697, 3583, 3473, 3366, 3263, 3162, 3065, 2971,
        2879, 2791, 2705, 2622, 2541, 2463, 2387, 2314, 2242, 2173, 2107, 2042, 1979, 1918, 1859, 1802, 1746, 1693,
        1641, 1590, 1541, 1494, 1448, 1403, 1360, 1318, 1278, 1238, 1200, 1163, 1128, 1093, 1059, 1027, 995, 964, 935,
        906, 878, 851, 825, 800, 775, 751, 728, 706, 684, 663, 642, 623, 604, 585, 567, 550, 533, 516, 500, 485, 470,
        456, 442, 428, 415, 402, 390, 378, 366, 355, 344, 333, 323, 313, 303, 294, 285, 276, 268, 260, 252, 244, 236,
        229, 222, 215, 209, 202, 196, 190, 184, 178, 173, 168, 162, 157, 153, 148, 143, 139, 135, 131, 127, 123, 119,
        115, 112, 108, 105, 102, 99, 95, 93, 90, 87, 84, 82, 79, 77, 74, 72, 70, 68, 66, 64, 62, 60, 58, 56, 54, 53, 51,
        50, 48, 47, 45, 44, 42, 41, 40, 39, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28, 27, 27, 26, 25, 24, 23, 23,
    ],
    dtype=np.int64,
)
# fmt: on
"""round(65535 e**(-i/32)), i = 0..255."""
FIRST: Final = 1023
"""The index of the first entry of LN."""
_INCREMENTS = (
    b"eNrtUAly2zAMlJz8/82ddtpUlHgA4OIi5djkYi+wPb5/f76+H5+vG7he5XH7fd3Qn29xX4+fq/tXguK43MW3RFd45a5Hcd6uCyhgda5/Ph3icwef"
    b"6/U4K8enMjzhHT2+FVg/7tcFVMfbX2u8g+FxuWvT/29jfl7DXwnaR/Msh+b9H1xQie9TjWCofz8nVz6b01mDZxOctfGsaI3zDrtHHTyGxq8+lsxD"
    b"K9B9YH6bU/V+DqOjghtXFxTwNlSJc2g5CZmzT9SHMWhfXTw8xsPlpsAGIfyOqA5qEc+rDSvjgP750YT6UILK1KIGR2d+wAbRPNtUh6tfjZF8k0CX"
    b"4sECd4buNJ7rVJVrsSOJaICFeJ9DK3YItINKHmPm6M+HaDoowiGCRNSjCKBJCG/SOHcNOT7FPKk0G5JmisI5uCJpYukc+THQiCZJEid/fHlMtUcB"
    b"bDIjgXWReabUQBS6OwhmPkuVp9yEL9jOoEkcYMLBDkWQWDddZDpmGZomtz4OiJ3I8ggGnqWYBs4lUsXzWMABEMeDUzx5YGiPka1XCCrFIZt0R+hK"
    b"A5FsYRohsaR/FsF5i0zkClOkkGITTL03krXJYYLnuEVlEI4mqoN5YWQk5kW0wGR7TRhYyoBiyFDME2EEmx1JJF3i1Kz4dxgXTRlmaQDDkQ0GTVJk"
    b"goQ6t04UJvUpkCqMz/dqCiYTVwYRYhODQ9FCZSQCdI6L750LKTel/AboUrBqO+AaU1BhNSmBhRuZ6geJkYYJz5Cez8FChghnB0mIsHyLEU+TWS6J"
    b"WakBd5lXuOl+VrmdWWDjiwJV/ABFagTlKqNCQOQwoKadfBqamE/OlevZhPbJGLgi8DrYL+dCm5CDUdkgE8EpLTeaVHWFJIxUqRWSUxq0w2JLKBYk"
    b"q/mQSYN95i+0iMKMJjEFWsukWqA2WYYlBlDGibK1Qnl8aCwi4ogtbBvbKwtMpDRKTIvfozjiV9vklNxQY0xZIchUHOwWpHJSZDIpMZxtohjrtGRU"
    b"4BVwaPSAISrVEo4VaczpCfWgaVyfDpEhiAZ5pEXLKLJPhKajoALz4vWemeD/KkN18JijFWEy6JDK8FwawdDr1Yih3FoUIlDdyAxK2nZmGwL0uLp1"
    b"DL4hr3KLN3vbTZrGkl+vqSORMWFMvcuqeZ0XaV67vSlWW/oE2JrK49Fu+lpYRLnIlY1U6GtyyuArQu+jjSkXRgsZuMKF49EBygKWRlziarOx+8RA"
    b"cXCNUW2S9dvf6z4gTlGCYIbmlE1ywyLJJEKM7mBOZFS1K9o2KJF5nVHW2qpc4lY/pUSsjdRv9tz83rlQiDS6Rq0vxqptXgoD76Ptd+yVD7gkdOW0"
    b"yX+LW3lwza/K3B60IeNqHSr5IocKqN+uzOMZ4f4pLv+CHLYwvd67li1xXxFo7YsSoLWfEKvQ7w35I47daRe+crxKWCZJ0SLvEJELPiT4+nVKDfWc"
    b"q5JaN0ghCxJ0eW3I8IQXZoLbPGLxtiVza5rN6wIuXGp5mKBRn++ahem0e5ZLrrF/waWr2FNH49asWZ/8OS8Oivd70CalSV+xTcCxNeLqNd4RMm1d"
    b"u9UL3yfmiQdaspArUnGOiPdK7/cv3JzlAds8ernhfXbEravXOTXsHApRntiXa9V+7a+EljapD7rsFw/BQAU="
)
LN: Final[NDArray[np.int64]] = -4 + np.cumsum(
    np.frombuffer(zlib.decompress(base64.b64decode(_INCREMENTS)), dtype=np.uint8), dtype=np.int64
)
"""floor(4096 ln(i / 1023.99)) for i = FIRST + 0, 1, …; the last is the first that reaches 4 nats."""
