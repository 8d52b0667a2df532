"""AlexNet, which timm does not have; once this module is imported timm builds it by name, `alexnet_bn`."""

from __future__ import annotations

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

#: Channels, kernel, stride and groups of each convolution, and whether a pool follows.
_LAYERS = (
    (96, 11, 4, 1, True),
    (256, 5, 1, 2, True),
    (384, 3, 1, 1, False),
    (384, 3, 1, 2, False),
    (256, 3, 1, 2, True),
)

default_cfgs = generate_default_cfgs(
    {
        "alexnet_bn": {
            "input_size": (3, 224, 224),
            "mean": IMAGENET_DEFAULT_MEAN,
            "std": IMAGENET_DEFAULT_STD,
            "first_conv": "features.0",
        }
    }
)


class AlexNet(nn.Module):
    """The five convolutions of AlexNet up to and with pool5 (Krizhevsky et al., "ImageNet Classification with Deep
    Convolutional Neural Networks", NIPS 2012, section 3.5), in the layer order of CaffeNet.

    Unlike the paper, each convolution is followed by batch normalisation, which trains from random weights, in place of
    the response normalisation of two of them. Padding is such that a level of stride s has H / s rows where 32 divides
    H; in the paper stem and pools have none, and lose pixels. The fully connected layers belong to decoders.

    Args:
        in_chans: channels of images, as timm calls them.

    Shape:
        (B, in_chans, H, W) to (B, 256, H / 32, W / 32).
    """

    def __init__(self, in_chans: int = 3) -> None:
        super().__init__()
        self.num_features, self.num_classes = 256, 0
        self.feature_info: list[dict[str, Any]] = []
        layers: list[nn.Module] = []
        width, reduction = in_chans, 1
        for channels, kernel, stride, groups, pooled in _LAYERS:
            conv = nn.Conv2d(width, channels, kernel, stride, kernel // 2, groups=groups, bias=False)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            layers += [conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
            width, reduction = channels, reduction * stride
            if pooled:  # what stands before a pool is the last layer of its stage, as in timm's VGG
                self._level(layers, width, reduction)
                layers.append(nn.MaxPool2d(3, stride=2, padding=1))
                reduction *= 2
        self._level(layers, width, reduction)
        self.features = nn.Sequential(*layers)

    def _level(self, layers: list[nn.Module], channels: int, reduction: int) -> None:
        self.feature_info.append({"num_chs": channels, "reduction": reduction, "module": f"features.{len(layers) - 1}"})

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.features(images)
        return features


@register_model
def alexnet_bn(pretrained: bool = False, **options: Any) -> Any:
    """`AlexNet` as timm makes models; there are no weights to download."""
    return build_model_with_cfg(
        AlexNet,
        "alexnet_bn",
        pretrained,
        feature_cfg={"flatten_sequential": True, "out_indices": (0, 1, 2, 3)},
        kwargs_filter=("num_classes", "global_pool"),  # type: ignore[arg-type]  # of a classifier: it has none
        **options,
    )
