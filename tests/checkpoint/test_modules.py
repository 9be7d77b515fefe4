"""Networks that come whole (pickled, from a factory, in memory): without wrappers, in float32, with their own input."""

import pytest
import torch
from support.checkpoint_cases import refused
from support.checkpoint_networks import HALVES, assert_same, load, vgg, write_code
from torch import nn

from dfq.checkpoint import describe_network, load_checkpoint
from dfq.images.input_spec import IMAGENET_MEAN, IMAGENET_STD
from dfq.models.own_input import own_input
from dfq.models.registry import build
from dfq.models.wrappers import plain_copy, unwrapped
from dfq.teacher.load import load_teacher

WRAPPED = {
    "parallel": "the network without DataParallel, which was around the network",
    "parallel_features": "the network without DataParallel, which was around 'features'",
    "compiled": "the network without OptimizedModule, which was around the network",
    "averaged": "the network without AveragedModel, which was around the network",
    "half": "float32 in place of float16, which the network's weights have",
}


@pytest.mark.parametrize(("factory", "said"), WRAPPED.items())
def test_factory(tmp_path, path, factory, said):
    network = vgg()
    torch.save(network.state_dict(), path)
    loaded = load(path, write_code(tmp_path).replace("Vgg", factory))
    assert_same(loaded, network)
    assert loaded.assumed == (said,)
    assert type(loaded.model).__name__ == "Vgg"


def pickled(network, path, **options):
    torch.save(network, path)
    return load_checkpoint(path, allow_pickle=True, **options)


def test_pickled_parallel_network(path):
    network = build("torchvision/squeezenet1_1", 3).eval()
    loaded = pickled(nn.DataParallel(network), path)
    assert_same(loaded, network)
    assert loaded.arch == "pickle/SqueezeNet"
    assert loaded.assumed == (
        WRAPPED["parallel"],
        "input size 3x224x224 and mean/std: the published configuration of torchvision's SqueezeNet",
    )


def test_pickled_network_with_a_parallel_part(path):
    network = build("torchvision/squeezenet1_1", 3).eval()
    expected = build("torchvision/squeezenet1_1", 3).eval()
    expected.load_state_dict(network.state_dict())
    network.features = nn.DataParallel(network.features)
    loaded = pickled(network, path)
    assert_same(loaded, expected)
    assert not any(isinstance(module, nn.DataParallel) for module in loaded.model.modules())


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_pickled_half_precision_network(path, kind):
    loaded = pickled(build("torchvision/squeezenet1_1", 3).to(kind), path)
    assert loaded.assumed[0] == f"float32 in place of {str(kind)[6:]}, which 52 tensors have"
    assert {tensor.dtype for tensor in loaded.model.parameters()} == {torch.float32}


def test_pickled_timm_network(path):
    pytest.importorskip("timm")
    loaded = pickled(build("timm/test_resnet", 4), path)
    assert loaded.arch == "pickle/ResNet"
    published = loaded.model.pretrained_cfg
    assert (loaded.input_spec.size, loaded.input_spec.mean) == (published["input_size"], published["mean"])
    assert "the published configuration of timm/test_resnet" in loaded.assumed[0]


def test_compiled_in_place():
    network = vgg()
    network.features[0].compile()
    plain, said = unwrapped(network)
    assert plain is network and "torch.compile, which was around its modules" in said[0]
    assert network.features[0]._compiled_call_impl is None


def test_network_whose_child_is_called_module_is_no_wrapper():
    network = vgg(name="Outer")
    assert unwrapped(network) == (network, ())


def test_network_in_memory_stays_as_it_is():
    network = vgg().half()
    network.features = nn.DataParallel(network.features)
    plain, said = plain_copy(network)
    assert plain is not network and len(said) == 2
    assert isinstance(network.features, nn.DataParallel) and network.features.module[0].weight.dtype == torch.float16
    assert plain.features[0].weight.dtype == torch.float32
    inner = vgg()
    assert plain_copy(nn.DataParallel(inner)) == (inner, (WRAPPED["parallel"],))
    assert plain_copy(inner) == (inner, ())


@pytest.mark.parametrize(
    ("name", "side"), [("resnet18", 224), ("efficientnet_b1", 240), ("mobilenet_v3_small", 224), ("vgg11", 224)]
)
def test_input_of_torchvision_classes(name, side):
    with torch.device("meta"):
        network = build(f"torchvision/{name}", 7)
    spec, whose = own_input(network)
    assert (spec.size, spec.mean, spec.std) == ((3, side, side), IMAGENET_MEAN, IMAGENET_STD)
    assert whose.startswith("torchvision")


def test_input_of_a_network_that_normalises_itself():
    with torch.device("meta"):
        network = build("torchvision/inception_v3")
    assert own_input(network)[0].mean == (0.5, 0.5, 0.5)
    network.transform_input = True
    assert own_input(network)[0].mean == IMAGENET_MEAN


def test_no_input_where_it_is_not_clear():
    with torch.device("meta"):
        changed = build("torchvision/efficientnet_b1")
        changed.features[0][0] = nn.Conv2d(3, 40, 3)
        grey = build("torchvision/resnet18")
        grey.conv1 = nn.Conv2d(1, 64, 7)
    assert own_input(changed) is None and own_input(grey) is None and own_input(vgg()) is None


def test_no_input_is_an_error(path):
    grey = build("torchvision/resnet18", 2)
    grey.conv1 = nn.Conv2d(1, 64, 7, stride=2)
    torch.save(grey, path)
    assert "neither the checkpoint nor pickle/ResNet tells" in refused(path, allow_pickle=True).found


def test_network_in_memory_of_a_library():
    with torch.device("meta"):
        network = build("torchvision/resnet18")
    same, spec, assumed = describe_network(network, input_size=None, mean=0.5, std=None)
    assert same is network and spec.size == (3, 224, 224) and spec.mean == (0.5, 0.5, 0.5)
    assert assumed == ("input size 3x224x224 and std: the published configuration of torchvision's ResNet",)


def test_network_in_memory_of_another_class():
    with pytest.raises(Exception, match="without the description of its input"):
        load_teacher(vgg(), input_size=HALVES["input_size"], mean=0.5)
