"""Norms for images of an unseen dataset, against loops in double precision."""

import copy

import pytest
import torch
from torch import Tensor, nn

from multiseg.errors import MultisegError
from multiseg.networks.dataset_norm import convert_norms, dataset_norms, images_of, norm_sets
from multiseg.networks.norm_adaptation import average_norms, norm_distances, reestimate_norms


class Two(nn.Module):
    """Two convolutions, each with a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)
        self.drop = nn.Dropout(0.9)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.drop(self.bn2(self.conv2(x)))


def dark(count: int, seed: int = 0, size: int = 12) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 0.3 - 2


def bright(count: int, seed: int = 0, size: int = 12) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) + 1


@pytest.fixture
def network() -> nn.Module:
    """With norms that have seen dark and bright images."""
    torch.manual_seed(0)
    made = convert_norms(Two(), ["night", "day"]).train()
    for step in range(40):
        for name, draw in (("night", dark), ("day", bright)):
            with images_of(made, name):
                made(draw(8, step))
    for norm in dataset_norms(made):
        for number, own in enumerate(norm.of_dataset.values()):
            own.weight.data.uniform_(0.5 + number, 1 + number)
            own.bias.data.uniform_(-1, 1)
    return made.eval()


def test_distances_against_a_loop(network: nn.Module) -> None:
    batch = torch.cat([dark(2, 99), bright(1, 98)])
    found = norm_distances(network, batch, ["night", "day"])
    for column, name in enumerate(["night", "day"]):
        first, second = network.bn1.of_dataset[name], network.bn2.of_dataset[name]
        for row, image in enumerate(batch):
            x = network.conv1(image[None])
            y = network.conv2(torch.relu(first(x)))
            apart = []
            for norm, entering in ((first, x), (second, y)):
                distances = []
                for channel in range(entering.shape[1]):
                    values = entering[0, channel].detach().double()
                    mean, std = values.mean(), values.std(correction=0)
                    mu, sigma = norm.running_mean[channel].double(), norm.running_var[channel].double().sqrt()
                    distances.append(((mean - mu) ** 2 + (std - sigma) ** 2) / (std**2 + sigma**2 + norm.eps))
                apart.append(sum(distances) / len(distances))
            assert float(found[row, column]) == pytest.approx(float(sum(apart) / 2), rel=1e-4)


def test_each_image_is_nearest_to_those_of_its_kind(network: nn.Module) -> None:
    batch = torch.cat([dark(4, 99), bright(4, 98)])
    assert norm_distances(network, batch, ["night", "day"]).argmin(1).tolist() == [0] * 4 + [1] * 4


def test_distances_leave_no_trace(network: nn.Module) -> None:
    before = copy.deepcopy(network.state_dict())
    norm_distances(network, dark(2), ["night", "day"])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(norm._forward_pre_hooks for norm in network.modules())


def test_the_average_has_the_moments_of_both(network: nn.Module) -> None:
    average_norms(network, "average", ["night", "day"])
    assert norm_sets(network) == ("night", "day", "average")
    night, day, both = (network.bn1.of_dataset[name] for name in ("night", "day", "average"))
    torch.testing.assert_close(both.weight, (night.weight + day.weight) / 2)
    torch.testing.assert_close(both.bias, (night.bias + day.bias) / 2)
    torch.testing.assert_close(both.running_mean, (night.running_mean + day.running_mean) / 2)
    values = torch.cat(  # as many of each, with just these moments
        [torch.tensor([[-1.0], [1.0]]) * norm.running_var.sqrt() + norm.running_mean for norm in (night, day)]
    )
    torch.testing.assert_close(both.running_var, values.var(0, correction=0))


def test_reestimated_statistics_against_one_pass_over_all_images(network: nn.Module) -> None:
    """In one batch, what is kept is what training would have seen; scale and shift are the other set's."""
    images = dark(6, 7)
    assert reestimate_norms(network, "new", "day", [images]) == 6
    new, like = network.bn1.of_dataset["new"], network.bn1.of_dataset["day"]
    entering = network.conv1(images).detach().double()
    torch.testing.assert_close(new.running_mean.double(), entering.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(new.running_var.double(), entering.var((0, 2, 3)), rtol=1e-4, atol=1e-6)
    assert torch.equal(new.weight, like.weight) and torch.equal(new.bias, like.bias)
    deeper = network.conv2(
        torch.relu(nn.functional.batch_norm(entering.float(), None, None, like.weight, like.bias, True))
    )
    torch.testing.assert_close(network.bn2.of_dataset["new"].running_mean, deeper.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_reestimation_weighs_pixels_over_batches_of_any_size(network: nn.Module) -> None:
    batches = [dark(3, 1), bright(1, 2, size=20)]
    assert reestimate_norms(network, "new", "night", batches) == 4
    entering = torch.cat([network.conv1(batch).detach().transpose(0, 1).flatten(1) for batch in batches], 1).double()
    new = network.bn1.of_dataset["new"]
    torch.testing.assert_close(new.running_mean.double(), entering.mean(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(new.running_var.double(), entering.var(1), rtol=1e-4, atol=1e-6)


def test_reestimation_touches_nothing_else(network: nn.Module) -> None:
    before = copy.deepcopy(network.state_dict())
    reestimate_norms(network, "new", "night", [bright(4)])
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(module.training for module in network.modules())
    first = copy.deepcopy(network.bn1.of_dataset["new"].running_mean)
    reestimate_norms(network, "new", "night", [dark(4)])  # once more, on other images: nothing is left of the first
    assert not torch.allclose(first, network.bn1.of_dataset["new"].running_mean)


def test_a_norm_that_sees_one_value_a_channel_is_named_and_leaves_nothing(network: nn.Module) -> None:
    single = dark(1, size=5)  # after two convolutions of 3 × 3 one pixel is left
    with pytest.raises(MultisegError, match="single value of each channel"):
        reestimate_norms(network, "new", "night", [single])
    assert norm_sets(network) == ("night", "day")
    assert reestimate_norms(network, "new", "night", [torch.cat([single, single + 1])]) == 2


def test_no_images_and_unknown_sets_are_named(network: nn.Module) -> None:
    with pytest.raises(MultisegError, match="no images"):
        reestimate_norms(network, "new", "night", [])
    assert norm_sets(network) == ("night", "day")
    with pytest.raises(MultisegError, match="did you mean 'night'"):
        reestimate_norms(network, "new", "nigth", [dark(2)])
    with pytest.raises(MultisegError, match="did you mean 'night'"):
        average_norms(network, "average", ["nigth"])
