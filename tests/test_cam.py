"""Class activation maps against arithmetic, Grad-CAM against class activation maps and finite differences."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from eva.cam import class_activation_map, grad_cam
from eva.model import IDEAS, Net, Rung


class Functional(nn.Module):
    """As a learner may write it: activation, pooling and flattening are functions."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.classifier = nn.Linear(8, 4)

    def forward(self, images):
        maps = F.max_pool2d(F.relu(self.first(images)), 2)
        maps = F.relu_(self.second(maps))
        return F.linear(maps.mean((2, 3)), weight=self.classifier.weight, bias=self.classifier.bias)


def headed(*layers, maps=8, classes=4) -> nn.Sequential:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(maps, classes))


POOLED = {  # end in global average pooling and a linear layer: the model, and its map
    "Net": (lambda: Net(0.125), lambda m: lambda x: m.final(m.middle(m.initial(m.stem(x))))),
    "Rung": (lambda: Rung(*IDEAS), lambda m: nn.Sequential(m.stem, m.initial, m.middle, m.final)),
    "resnet18": (
        lambda: torchvision.models.resnet18(num_classes=5),  # of 32 pixels it leaves one
        lambda m: nn.Sequential(*list(m.children())[:-2]),
    ),
    "functional": (Functional, lambda m: lambda x: F.relu(m.second(F.max_pool2d(F.relu(m.first(x)), 2)))),
    "no bias": (
        lambda: nn.Sequential(nn.Conv2d(3, 5, 3), nn.AvgPool2d((62, 46)), nn.Flatten(), nn.Linear(5, 4, bias=False)),
        lambda m: m[0],
    ),
}


@pytest.fixture
def images(rng):
    return torch.randn(4, 3, 32, 32, generator=rng)


@pytest.fixture
def wide(rng):
    """Not square, and large enough for a network that was made for ImageNet."""
    return torch.randn(4, 3, 64, 48, generator=rng)


def made(build, size=(32, 32)) -> nn.Module:
    """A model with weights of its own, and batch norm that has seen something."""
    torch.manual_seed(0)
    model = build().train()
    with torch.no_grad():
        for _ in range(2):
            model(torch.randn(8, 3, *size))
    return model.eval()


@pytest.mark.parametrize("name", POOLED)
def test_the_maps_mean_and_the_bias_are_the_logit(name, wide):
    """What Zhou et al. say, and what no implementation detail can bring about by chance."""
    model = made(POOLED[name][0], (64, 48))
    logits = model(wide)
    bias = [*model.modules()][-1].bias
    for target in range(logits.shape[1]):
        maps = class_activation_map(model, wide, target)
        assert maps.ndim == 3
        assert not maps.requires_grad
        expected = logits[:, target] - (0 if bias is None else bias[target])
        torch.testing.assert_close(maps.mean((1, 2)), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", POOLED)
def test_class_activation_maps_are_the_weighted_feature_maps(name, wide):
    build, trunk = POOLED[name]
    model = made(build, (64, 48))
    features, target = trunk(model)(wide), torch.tensor([0, 3, 1, 1])
    weight = [*model.modules()][-1].weight
    heats = class_activation_map(model, wide, target)
    for image in range(4):
        expected = sum(weight[target[image], k] * features[image, k] for k in range(features.shape[1]))
        torch.testing.assert_close(heats[image], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", POOLED)
def test_grad_cam_is_the_class_activation_map_over_the_number_of_pixels(name, wide):
    model = made(POOLED[name][0], (64, 48))
    for target in (None, 2, [3, 0, 1, 3]):
        expected = class_activation_map(model, wide, target)
        heats = grad_cam(model, wide, target=target, rectified=False) * expected[0].numel()
        torch.testing.assert_close(heats, expected, atol=1e-4, rtol=1e-4)
        rectified = grad_cam(model, wide, target=target) * expected[0].numel()
        torch.testing.assert_close(rectified, expected.clamp(min=0), atol=1e-4, rtol=1e-4)
    assert (expected < 0).any()


def test_the_predicted_class_is_the_default(images):
    model = made(lambda: Net(0.125))
    predicted = model(images).argmax(1)
    assert torch.equal(class_activation_map(model, images), class_activation_map(model, images, predicted))
    assert torch.equal(grad_cam(model, images), grad_cam(model, images, target=predicted.tolist()))


@pytest.mark.parametrize("seed", range(3))
def test_gradients_agree_with_finite_differences(seed):
    """A head with a kink and two layers, so that the gradient depends on the image."""
    torch.manual_seed(seed)
    trunk = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    head = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4 * 6 * 5, 7), nn.Tanh(), nn.Linear(7, 3))
    model = nn.Sequential(trunk, head).double().eval()
    images, target = torch.randn(3, 3, 8, 7, dtype=torch.float64), torch.tensor([2, 0, 1])
    maps = trunk(images).detach()
    expected = torch.zeros(3, 6, 5, dtype=torch.float64)
    for image in range(3):
        for k in range(4):
            slopes = []
            for place in range(30):
                nudge = torch.zeros_like(maps[image])
                nudge[k].view(-1)[place] = 1e-6
                above, below = (head((maps[image] + sign * nudge)[None])[0, target[image]] for sign in (1, -1))
                slopes.append((above - below).item() / 2e-6)
            expected[image] += sum(slopes) / 30 * maps[image, k]
    heats = grad_cam(model, images, layer=trunk, target=target, rectified=False)
    torch.testing.assert_close(heats, expected, atol=1e-7, rtol=1e-5)
    # The activation is in place: what the batch norm gave must have been kept before that.
    assert torch.equal(grad_cam(model, images, layer=trunk[1], target=target, rectified=False), heats)


@pytest.mark.parametrize("build", [lambda: Net(0.125), Rung, lambda: torchvision.models.resnet18(num_classes=5)])
def test_a_batch_gives_what_its_images_give_one_at_a_time(build, images):
    model, target = made(build), torch.tensor([0, 3, 1, 1])
    batch = grad_cam(model, images, target=target, rectified=False)
    for i in range(4):
        alone = grad_cam(model, images[i : i + 1], target=target[i : i + 1], rectified=False)
        torch.testing.assert_close(alone[0], batch[i], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("function", [class_activation_map, grad_cam])
def test_a_model_that_is_training_is_looked_at_as_it_would_predict(function, images):
    model = made(lambda: Net(0.125))
    expected, before = function(model, images), {name: value.clone() for name, value in model.state_dict().items()}
    assert torch.equal(function(model.train(), images), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_any_layer_can_be_looked_at(images):
    model = made(lambda: Net(0.125))
    assert grad_cam(model, images).shape == grad_cam(model, images, model.final).shape == (4, 8, 8)
    torch.testing.assert_close(grad_cam(model, images), grad_cam(model, images, model.final))
    assert grad_cam(model, images, model.stem).shape == (4, 32, 32)
    assert grad_cam(model, images, model.pool).shape == (4, 1, 1), "one pixel: no place, but no error either"


def test_a_dense_head_has_a_grad_cam_and_an_explanation(images):
    model = made(Rung)
    assert grad_cam(model, images).shape == (4, 8, 8)
    with pytest.raises(ValueError, match=r"Rung does not end in .* more than one pixel, \(64, 8, 8\): use grad_cam"):
        class_activation_map(model, images)


@pytest.mark.parametrize(
    "model",
    [
        headed(nn.Conv2d(3, 8, 3), nn.AdaptiveMaxPool2d(1)),
        nn.Sequential(headed(nn.Conv2d(3, 8, 3)), nn.Softmax(1)),
        nn.Sequential(headed(nn.Conv2d(3, 8, 3)), nn.ReLU(), nn.Linear(4, 4)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ],
    ids=["max pooling", "softmax", "two linear layers", "no linear layer"],
)
def test_heads_of_another_kind_are_told_apart(model, images):
    with pytest.raises(ValueError, match="does not end in global average pooling and one linear layer"):
        class_activation_map(model, images)
    assert grad_cam(model, images).shape == (4, 30, 30)


def test_a_final_map_of_one_pixel(images):
    """`Net` halves twice: of 4x4 pixels one is left. Grad-CAM then shows the last map that has places."""
    model, small = made(lambda: Net(0.125)), images[:, :, :4, :4]
    with pytest.raises(ValueError, match=r"after its last map of more than one pixel, \(\d+, 2, 2\)"):
        class_activation_map(model, small)
    assert grad_cam(model, small).shape == (4, 2, 2)
    assert grad_cam(model, small, model.final).shape == (4, 1, 1)
    resnet = torchvision.models.resnet18(num_classes=5)
    with pytest.raises(ValueError, match=r"ResNet .* more than one pixel, \(256, 2, 2\)"):
        class_activation_map(resnet, images)
    assert grad_cam(resnet, images).shape == (4, 2, 2)
    pixel = headed(nn.Conv2d(3, 8, 32))
    for function in (class_activation_map, grad_cam):
        with pytest.raises(ValueError, match="no feature map of more than one pixel from images of 32x32"):
            function(pixel, images)


@pytest.mark.parametrize("function", [class_activation_map, grad_cam])
def test_a_model_without_convolution_is_explained(function, images):
    flat = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(3 * 32 * 32, 4))
    with pytest.raises(ValueError, match=r"Sequential has no convolution, so it makes no feature map"):
        function(flat, images)


def test_one_pixel_with_its_channels_last_is_no_map(images):
    """As in ConvNeXt's head, which normalises after pooling."""

    class NormalisedPixel(nn.Module):
        def forward(self, x):
            return F.layer_norm(x.permute(0, 2, 3, 1), (8,)).permute(0, 3, 1, 2)

    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), NormalisedPixel(), nn.Flatten(), nn.Linear(8, 4))
    assert torch.equal(grad_cam(model, images), grad_cam(model, images, model[0]))
    with pytest.raises(ValueError, match=r"after its last map of more than one pixel, \(8, 30, 30\): use grad_cam"):
        class_activation_map(model, images)


# Left alone


@pytest.mark.parametrize("function", [class_activation_map, grad_cam])
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_the_images_and_the_random_state_are_left_alone(function, fails, images):
    class Last(nn.Module):
        def forward(self, logits):
            torch.rand(3)  # a model that draws even when it is evaluated
            if fails:
                raise KeyError("the model's own")
            return logits

    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout())
    model = headed(*model).train()
    model.append(Last())
    model[1].eval()
    calls = []
    handle = model[0].register_forward_hook(lambda *_: calls.append(1))
    hooks = [dict(module._forward_hooks) for module in model.modules()]
    model(torch.randn(2, 3, 32, 32)).sum().backward() if not fails else None
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    kept, state = images.clone(), torch.get_rng_state()
    options = {"layer": model[2]} if function is grad_cam else {}
    if fails:
        with pytest.raises(KeyError):
            function(model, images, **options)
    else:
        function(model, images, **options)
    assert [module.training for module in model] == [True, False, *[True] * 6]
    assert [dict(module._forward_hooks) for module in model.modules()] == hooks
    assert not any(module._forward_pre_hooks or module._backward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad
        assert (parameter.grad is None) if gradients[name] is None else torch.equal(parameter.grad, gradients[name])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, kept)
    assert not images.requires_grad
    assert images.grad is None
    assert torch.is_grad_enabled()
    assert calls
    handle.remove()


def test_it_works_where_gradients_are_off_and_on_frozen_models(images):
    model = made(lambda: Net(0.125))
    expected = grad_cam(model, images)
    with torch.no_grad():
        assert torch.equal(grad_cam(model, images), expected)
    with torch.inference_mode():
        torch.testing.assert_close(grad_cam(model, images + 0), expected)
    model.requires_grad_(False)
    assert torch.equal(grad_cam(model, images), expected)
    assert torch.equal(grad_cam(nn.DataParallel(model), images), expected)
    assert torch.equal(grad_cam(torch.compile(model), images), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second device")
def test_the_model_may_be_on_another_device_than_the_images(images):
    model = made(lambda: Net(0.125))
    for function in (class_activation_map, grad_cam):
        expected = function(model.cpu(), images, target=[0, 1, 2, 3])
        heats = function(model.cuda(), images, target=torch.arange(4))
        assert heats.device == images.device
        torch.testing.assert_close(heats, expected, atol=1e-2, rtol=1e-2)


# Bad input


@pytest.mark.parametrize("function", [class_activation_map, grad_cam])
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([0, 1], r"a class per image; got torch\.int64 \(2,\)"),
        ([0.0, 1.0, 2.0, 1.0], r"int64 \(4,\), a class per image; got torch\.float32 \(4,\)"),
        (True, r"got torch\.bool \(\)"),
        (10, "target must be from 0 to 9, the classes of this model, got 10 to 10"),
        ([0, -1, 4, 2], "target must be from 0 to 9, the classes of this model, got -1 to 4"),
    ],
)
def test_targets_that_do_not_fit(function, target, message, images):
    with pytest.raises(ValueError, match=message):
        function(Net(0.125), images, target=target)


@pytest.mark.parametrize("function", [class_activation_map, grad_cam])
@pytest.mark.parametrize(
    "wrong", [torch.zeros(3, 32, 32), torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.zeros(0, 3, 32, 32)]
)
def test_images_that_do_not_fit(function, wrong):
    with pytest.raises(ValueError, match=r"images must be normalised floats \(N, C, H, W\), got torch\.\w+ \(\d"):
        function(Net(0.125), wrong)


def test_models_that_give_no_logits(images):
    with pytest.raises(ValueError, match=r"Conv2d must give logits \(4, classes\) for 4 images, got \(4, 2, 30, 30\)"):
        grad_cam(nn.Conv2d(3, 2, 3), images)

    class Two(nn.Module):
        def forward(self, x):
            return x, x

    with pytest.raises(ValueError, match=r"Two must give logits \(4, classes\) for 4 images, got tuple"):
        class_activation_map(Two(), images)


def test_layers_that_cannot_be_looked_at(images):
    model = headed(nn.Conv2d(3, 8, 3))
    with pytest.raises(ValueError, match="this Conv2d did not run: name a layer of the model itself"):
        grad_cam(model, images, layer=nn.Conv2d(3, 8, 3))
    with pytest.raises(ValueError, match="Linear gives no feature map"):
        grad_cam(model, images, layer=model[-1])

    class Detached(nn.Module):
        def forward(self, x):
            return x.detach()

    for place in (1, 4):  # before the other layers, so that the logits still have a gradient of their own; after them
        cut = nn.Sequential(*model[:place], Detached(), *model[place:])
        with pytest.raises(ValueError, match="no gradient comes back from the logits to Conv2d: name a layer"):
            grad_cam(cut, images, layer=model[0])


class Attention(nn.Module):
    """A vision transformer written by hand: its tensors of four dimensions are heads by tokens, and not maps."""

    def __init__(self, heads=2, width=12, classes=4):
        super().__init__()
        self.patches, self.heads = nn.Conv2d(3, width, 4, stride=4), heads
        self.qkv, self.classifier = nn.Linear(width, 3 * width), nn.Linear(width, classes)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        count, length, width = tokens.shape
        query, key, value = self.qkv(tokens).view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = (query @ key.transpose(-2, -1)).softmax(-1) @ value
        return self.classifier((tokens + mixed.transpose(1, 2).reshape(count, length, width)).mean(1))


class ChannelsLast(nn.Module):
    """A head that is a linear layer at each pixel, and then the mean."""

    def __init__(self, maps=8, classes=10):
        super().__init__()
        self.layers, self.classifier = (
            nn.Sequential(nn.Conv2d(3, maps, 3, padding=1), nn.ReLU()),
            nn.Linear(maps, classes),
        )

    def forward(self, images):
        return self.classifier(self.layers(images).permute(0, 2, 3, 1)).mean((1, 2))


class Shuffled(nn.Module):
    """Channels are shuffled by views of five dimensions; rows and columns stay."""

    def __init__(self):
        super().__init__()
        self.first, self.classifier = nn.Conv2d(3, 8, 3, stride=2), nn.Linear(8, 4)

    def forward(self, images):
        maps = self.first(images)
        count, channels, height, width = maps.shape
        shuffled = maps.view(count, 2, channels // 2, height, width).transpose(1, 2).reshape(maps.shape)
        return self.classifier((2 * shuffled).mean((2, 3)))


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (Attention, (4, 8, 8)),
        (ChannelsLast, (4, 32, 32)),
        (lambda: ChannelsLast(maps=32), (4, 32, 32)),  # as many maps as rows: only the strides tell
        (Shuffled, (4, 15, 15)),
        (lambda: torchvision.models.convnext_tiny(num_classes=4), (4, 1, 1)),
        (lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=4), (4, 1, 1)),
    ],
)
def test_the_last_map_is_one_of_rows_and_columns(build, shape, images):
    model = made(build, size=(64, 64)) if shape[1] == 1 else made(build)
    given = torch.randn(4, 3, 64, 64) if shape[1] == 1 else images
    heat = grad_cam(model, given, rectified=False)
    assert heat.shape == (shape if shape[1] > 1 else (4, 2, 2))
    assert heat.abs().sum() > 0


@pytest.mark.parametrize("kept", [lambda t: t.detach(), lambda t: t.clone(), lambda t: t.detach().cpu().clone()])
def test_a_hook_that_keeps_the_maps_changes_nothing(kept, images):
    model = made(lambda: headed(nn.Conv2d(3, 8, 3), nn.ReLU()))
    expected, exact = grad_cam(model, images), class_activation_map(model, images)
    seen = []
    model[1].register_forward_hook(lambda module, inputs, output: seen.append(kept(output)))
    torch.testing.assert_close(grad_cam(model, images), expected)
    torch.testing.assert_close(class_activation_map(model, images), exact)
    assert len(seen) == 2
