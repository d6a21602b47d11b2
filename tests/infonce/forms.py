"""Every form of the loss that a training may have, by a name."""

from infonce.loss_config import LossConfig, Negatives

FORMS = {
    "symmetric": LossConfig(),
    "one way": LossConfig(symmetric=False),
    "paired": LossConfig(negatives=Negatives.PAIRED),
    "unpaired": LossConfig(negatives=Negatives.UNPAIRED),
    "matryoshka": LossConfig(matryoshka_dims=(16, 8)),
    "views": LossConfig(num_views=2),
    "learnt temperature": LossConfig(learn_temperature=True),
    "queue": LossConfig(queue_size=24),
    "momentum": LossConfig(queue_size=24, momentum=0.9),
    "momentum, one way": LossConfig(queue_size=24, momentum=0.9, symmetric=False),
    "tiled": LossConfig(tile_size=3),
}
