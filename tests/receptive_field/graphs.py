"""Graphs such as people write them, for the calculator to be held to the truth on."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.receptive_field.truth import Calls

GRAPHS: dict[str, nn.Module] = {}
DRAWN = {"where", "masked by a comparison", "argmax", "topk"}  # whose paths depend on the values: several images


def conv(inputs=3, outputs=3, kernel=3, **options):
    """A convolution that keeps the size of a map."""
    padding = options.pop("padding", options.get("dilation", 1) * (kernel // 2))
    return nn.Conv2d(inputs, outputs, kernel, padding=padding, **options)


def narrow(inputs=3, outputs=3):
    return conv(inputs, outputs, 3)


def wide(inputs=3, outputs=3):
    return conv(inputs, outputs, 5)


def graph(name, *layers):
    """Enter a function of layers and images into GRAPHS."""

    def enter(forward):
        torch.manual_seed(0)
        GRAPHS[name] = Calls(forward, *layers)
        return forward

    return enter


graph("flat back", narrow(), wide())(lambda layers, x: layers[1](layers[0](x).flatten(2).view(x.shape)))
graph("flat add", narrow(), wide())(lambda layers, x: layers[0](x) + layers[1](x).flatten(2).view(x.shape))
graph("avgpool1d flat", narrow())(lambda layers, x: F.avg_pool1d(layers[0](x).flatten(2), 3, 1, 1))
graph("LN token", narrow(), nn.LayerNorm(3))(
    lambda layers, x: layers[1](layers[0](x).flatten(2).transpose(1, 2)).transpose(1, 2).view(x.shape)
)
graph("Linear token", narrow(), nn.Linear(3, 3), wide())(
    lambda layers, x: layers[2](layers[1](layers[0](x).flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape))
)
graph("matmul token", narrow(), nn.Linear(3, 3), wide())(
    lambda layers, x: layers[2]((layers[1].weight @ layers[0](x).flatten(2)).reshape(x.shape))
)
graph("pixel gate", narrow())(lambda layers, x: layers[0](x) * layers[0](x)[:, :, 3:4, 4:5])


@graph("clone write", wide())
def written_through_a_view(layers, x):
    y = x.clone()
    y[:, :1].add_(layers[0](x)[:, :1])
    return y


@graph("split write", narrow(), wide())
def written_through_a_split(layers, x):
    y = layers[0](x)
    _, v = y.split([1, 2], 1)
    v.mul_(layers[1](x)[:, :2])
    return y


@graph("foreach", narrow(), wide())
def lists(layers, x):
    y = [layers[0](x), layers[1](x)]
    torch._foreach_add_(y, [layers[1](x), x])
    return y[0] + 0


@graph("data", narrow(), wide())
def data_exchanged(layers, x):
    y = layers[0](x)
    y.data = layers[1](x)
    return y * 1


@graph("buffer", narrow(), wide())
def a_buffer_filled(layers, x):
    z = torch.zeros(1, 6, *x.shape[2:], dtype=x.dtype)
    z[:, :3] = layers[0](x)
    z[:, 3:] = layers[1](x)
    return z


@graph("buffer like", narrow(), wide())
def a_buffer_of_rows_in_turn(layers, x):
    z = torch.empty_like(x)
    z[:, :, ::2] = layers[0](x)[:, :, ::2]
    z[:, :, 1::2] = layers[1](x)[:, :, 1::2]
    return layers[0](z)


graph("condconv", conv(3, 9, 1))(
    lambda layers, x: F.conv2d(x, layers[0](x.mean((2, 3), keepdim=True)).view(3, 3, 1, 1))
)
graph("crop kernel")(lambda layers, x: F.conv2d(x, x[:, :, 4:7, 4:7], padding=1))
graph("softmax merged")(lambda layers, x: x.reshape(-1, 3).softmax(0).reshape(x.shape))
graph("softmax c", narrow())(lambda layers, x: layers[0](x).softmax(1))
graph("softmax row", narrow())(lambda layers, x: layers[0](x).softmax(3))
graph("group ch", narrow(), wide())(lambda layers, x: layers[0](torch.cat([layers[1](x), x], 1)[:, 3:]))
graph("cat", narrow(), wide())(lambda layers, x: torch.cat([layers[1](x), layers[0](x)], 1))
graph("crop mean", narrow())(lambda layers, x: layers[0](x)[:, :, 2:9, 3:8].mean((2, 3)))
graph("LN row", narrow())(lambda layers, x: F.layer_norm(layers[0](x), x.shape[3:]))
graph("LN all", narrow())(lambda layers, x: F.layer_norm(layers[0](x), x.shape[1:]))
graph("stride gap pool", conv(3, 3, 3, stride=5, padding=0))(lambda layers, x: layers[0](x).mean((2, 3)))
graph("avg full", narrow())(lambda layers, x: F.avg_pool2d(layers[0](x), x.shape[2:]))
graph("big conv", conv(3, 3, 31))(lambda layers, x: layers[0](x))
graph("nearest", narrow(), wide())(
    lambda layers, x: layers[1](F.interpolate(layers[0](x)[:, :, ::2, ::2], scale_factor=2))
)
graph("bilinear", narrow(), wide())(
    lambda layers, x: layers[1](F.interpolate(F.max_pool2d(layers[0](x), 2), scale_factor=2, mode="bilinear"))
)
graph("bilinear ac", narrow(), wide())(
    lambda layers, x: layers[1](
        F.interpolate(F.max_pool2d(layers[0](x), 2), size=(19, 33), mode="bilinear", align_corners=True)
    )
)
graph("transposed", conv(3, 3, 3, stride=2), nn.ConvTranspose2d(3, 3, 4, 2, 1), narrow())(
    lambda layers, x: layers[2](layers[1](layers[0](x)))
)
graph("transposed2", conv(3, 3, 3, stride=2), nn.ConvTranspose2d(3, 3, 2, 2), narrow())(
    lambda layers, x: layers[2](layers[1](layers[0](x)))
)
graph("transposed3", nn.ConvTranspose2d(3, 6, 3, 3, 1, 1, dilation=2), conv(6, 3, 3, groups=3))(
    lambda layers, x: layers[1](layers[0](x))
)
graph("addcmul", narrow(), wide())(lambda layers, x: torch.addcmul(x, layers[0](x), layers[1](x)))
graph("reflect", nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"), wide())(
    lambda layers, x: layers[1](layers[0](x))
)
graph("replicate", nn.Conv2d(3, 3, 3, padding=1, padding_mode="replicate"))(lambda layers, x: layers[0](x))
graph("circular", nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular"), wide())(
    lambda layers, x: layers[1](layers[0](x))
)
graph("stack", narrow(), wide())(lambda layers, x: torch.stack([layers[0](x), layers[1](x)], 1).flatten(1, 2))
graph("s2d", narrow(), conv(12, 3, 3))(lambda layers, x: layers[1](F.pixel_unshuffle(layers[0](x), 2)))
graph("s2d view", narrow(), conv(12, 3, 3))(
    lambda layers, x: layers[1](layers[0](x).view(1, 3, 12, 2, 10, 2).permute(0, 1, 3, 5, 2, 4).reshape(1, 12, 12, 10))
)
graph("d2s", narrow(3, 12), wide())(lambda layers, x: layers[1](F.pixel_shuffle(layers[0](x), 2)))
graph("misc pointwise", narrow(), nn.PReLU(), nn.CELU(), nn.Hardshrink(), nn.LogSigmoid())(
    lambda layers, x: layers[4](layers[3](layers[2](layers[1](layers[0](x))))).sin().clamp_min(-1) * (x > 0).double()
)
graph("glu", conv(3, 6, 3))(lambda layers, x: F.glu(layers[0](x), 1))
graph("masked by a comparison", narrow(), wide())(lambda layers, x: layers[0](x).masked_fill(layers[1](x) > 0, 0.0))
graph("zeros_like", narrow())(lambda layers, x: layers[0](x) + torch.zeros_like(F.max_pool2d(x, 7, 1, 3)))
graph("flip1", narrow(), wide())(lambda layers, x: torch.cat([layers[0](x), layers[1](x)], 1).flip(1)[:, :2])
graph("flip3", narrow())(lambda layers, x: layers[0](x).flip(3))
graph("roll", narrow())(lambda layers, x: layers[0](x).roll(2, 2))
graph("bgr", narrow())(lambda layers, x: layers[0](x)[:, [2, 1, 0]])
graph("repeat", narrow())(lambda layers, x: layers[0](x).repeat(1, 2, 1, 1))
graph("lerp", narrow(), wide())(
    lambda layers, x: torch.lerp(x, layers[0](x), 0.3) + layers[1](x).logsumexp(1, keepdim=True)
)
graph("argmax", narrow())(lambda layers, x: layers[0](x).argmax(1).double())
graph("einsum", narrow(), nn.Linear(3, 5))(
    lambda layers, x: torch.einsum("nchw,dc->ndhw", layers[0](x), layers[1].weight)
)
graph("chshuffle", conv(3, 6, 3), nn.ChannelShuffle(2), wide(6, 2))(
    lambda layers, x: layers[2](layers[1](layers[0](x)))
)
graph("lrn", narrow(), nn.LocalResponseNorm(2))(lambda layers, x: layers[1](layers[0](x)))
graph("amax3", narrow())(lambda layers, x: layers[0](x).amax(3))
graph("arange", narrow())(
    lambda layers, x: layers[0](x) * torch.arange(x.shape[3]) + torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
)
graph("se", narrow(), conv(3, 3, 1))(lambda layers, x: layers[0](x) * layers[1](x.mean((2, 3), keepdim=True)).sigmoid())
graph("adaptive uneven", narrow())(lambda layers, x: F.adaptive_avg_pool2d(layers[0](x), (7, 6)))
graph("adaptive up", narrow())(lambda layers, x: F.adaptive_avg_pool2d(F.adaptive_avg_pool2d(layers[0](x), 1), 7))


@graph("attention", nn.Conv2d(3, 8, 4, 4), nn.MultiheadAttention(8, 2, batch_first=True))
def attention(layers, x):
    t = layers[0](x).flatten(2).transpose(1, 2)
    return t + layers[1](t, t, t)[0]


@graph("window attention", nn.Conv2d(3, 8, 2, 2), narrow(8, 8))
def attention_in_windows(layers, x):
    y = layers[0](x)
    n, c, h, w = y.shape
    t = y.view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(-1, 4, c)
    t = F.scaled_dot_product_attention(t, t, t)
    return layers[1](t.view(n, h // 2, w // 2, 2, 2, c).permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w))


graph("dot", narrow())(lambda layers, x: (layers[0](x) * x).sum())
graph("rows attention", narrow())(lambda layers, x: (layers[0](x) @ layers[0](x).transpose(2, 3)).softmax(-1) @ x)
graph("mean3 mean2", narrow())(lambda layers, x: layers[0](x).mean(3).mean(2))
graph("groupnorm", conv(3, 4, 3), nn.GroupNorm(2, 4))(lambda layers, x: layers[1](layers[0](x)))
graph("instnorm", conv(3, 4, 3), nn.InstanceNorm2d(4))(lambda layers, x: layers[1](layers[0](x)))
graph("twice", narrow())(lambda layers, x: layers[0](layers[0](x)))
graph("normalize", narrow())(
    lambda layers, x: layers[0](
        (x - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.2, 0.2]).view(3, 1, 1)
    )
)
graph("unbind", narrow(), wide())(lambda layers, x: sum(torch.stack([layers[0](x), layers[1](x)]).unbind(0)))
graph("cumsum", narrow())(lambda layers, x: layers[0](x).cumsum(3))
graph("coordatt", narrow(), conv(3, 3, 1))(lambda layers, x: layers[0](x) * layers[1](x.mean(3, keepdim=True)))
graph("mixer", nn.Linear(480, 480), narrow())(lambda layers, x: layers[1](x) + layers[0](x.flatten(2)).view(x.shape))
graph("tril", narrow())(lambda layers, x: layers[0](x).tril())
graph("conv1d rows", nn.Conv1d(20, 20, 3, padding=1))(
    lambda layers, x: layers[0](x.transpose(2, 3).flatten(0, 1)).view(1, 3, 20, 24)
)
graph("conv3d", nn.Conv3d(1, 2, 3, padding=1))(lambda layers, x: layers[0](x[:, None]))
graph("as list of crops", narrow())(lambda layers, x: torch.cat([layers[0](x)[:, :, :10], layers[0](x)[:, :, 10:]], 2))
graph("pad0", narrow())(lambda layers, x: layers[0](F.pad(x, (1, 2, 0, 3)))[:, :, 1:])
graph("optA", conv(3, 6, 3, stride=2))(lambda layers, x: layers[0](x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 2)))
graph("unfold", narrow())(lambda layers, x: F.unfold(layers[0](x), 3, padding=1))
graph("fold", narrow())(
    lambda layers, x: F.fold(F.unfold(layers[0](x), 3, padding=1, stride=2), x.shape[2:], 3, padding=1, stride=2)
)
graph("lstm", nn.LSTM(60, 8, batch_first=True))(lambda layers, x: layers[0](x.permute(0, 2, 1, 3).flatten(2))[0])


@graph("index_put", narrow(), wide())
def index_put(layers, x):
    y = layers[0](x)
    y[:, [0, 2]] = layers[1](x)[:, :2]
    return y


graph("where", narrow(), wide())(lambda layers, x: torch.where(layers[0](x) > 0, x, layers[1](x)))
graph("topk", narrow())(lambda layers, x: layers[0](x).topk(2, 1).values)
graph("fft", narrow())(lambda layers, x: torch.fft.irfft2(torch.fft.rfft2(layers[0](x)) * 2))
graph("kernel=1 linear", nn.Linear(20, 20))(lambda layers, x: layers[0](x))
graph("expand", narrow())(lambda layers, x: layers[0](x).mean(1, keepdim=True).expand(-1, 4, -1, -1) * 2)
graph("t_ inplace", narrow())(lambda layers, x: layers[0](x)[0, 0].t_() * 1)


# Found by a sceptic


@graph("filled with a pixel", narrow())
def filled(layers, x):
    y = torch.zeros_like(x)
    y[:, 0] = x[0, 0, 4, 5]
    y[:, 1].fill_(x[:, 2].amax())
    return layers[0](y)


@graph("written out", nn.Linear(20, 20))
def written_out(layers, x):
    z = torch.zeros(24, 20, dtype=x.dtype)
    torch.mm(x[0, 0], layers[0].weight, out=z)
    return torch.cat([x, z[None, None]], 1, out=torch.empty(1, 4, 24, 20, dtype=x.dtype))


@graph("masked in place", narrow())
def masked_in_place(layers, x):
    y = layers[0](x)
    y[:, :, torch.arange(24) % 2 == 0] = 0
    return y


@graph("in place on the image", narrow())
def in_place_on_the_image(layers, x):
    x[:, :, ::2] = 0
    x[:, 0].mul_(2).add_(x[:, 1])
    return layers[0](x)


@graph("a view of what was exchanged", narrow(), wide())
def view_of_exchanged(layers, x):
    y = layers[0](x)
    v = y[:]
    y.data = layers[1](x)
    v.zero_()
    return y * 1


@graph("inference mode", narrow(), wide())
def inference(layers, x):
    with torch.inference_mode():
        return layers[1](layers[0](x).relu())


graph("interpolated 1.3 times", narrow())(lambda layers, x: F.interpolate(layers[0](x), scale_factor=1.3))
graph("coordinates beside", narrow(4))(
    lambda layers, x: layers[0](torch.cat([x, torch.arange(20).expand(1, 1, 24, 20)], 1))
)
graph("a crop, padded", narrow())(lambda layers, x: layers[0](x[:, :, 3:15, 2:12]))
graph("means of halves")(lambda layers, x: torch.cat([x[:, :, :12], x[:, :, 12:]], 1).mean((2, 3)))
graph("scaled lists", narrow())(lambda layers, x: torch._foreach_mul([layers[0](x)], x.mean())[0])
graph("int32 places", narrow())(lambda layers, x: layers[0](x).index_select(1, torch.tensor([2, 0], dtype=torch.int32)))
graph("dropped in training", narrow())(lambda layers, x: F.dropout(layers[0](x), 0.0, training=True))
