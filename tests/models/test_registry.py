"""Architectures: each builds, runs, traces; names resolve; every failure says what to do."""

import pytest
import torch
from torch import fx, nn

from dfq.errors import DfqError
from dfq.images.input_spec import IMAGENET_MEAN, IMAGENET_STD
from dfq.models import registry, timm_library
from dfq.models.registry import OWN, build, full_names, known_names, published_input_spec
from dfq.models.torchvision_library import is_outside

PARAMETERS = {  # millions, from the papers and the repositories whose checkpoints these nets load
    "resnet20": 0.27,
    "resnet32": 0.46,
    "resnet44": 0.66,
    "resnet56": 0.85,
    "resnet110": 1.73,
    "resnet18_cifar": 11.17,
    "resnet34_cifar": 21.28,
    "wrn40_2": 2.24,
    "wrn40_1": 0.56,
    "wrn16_2": 0.69,
    "wrn16_1": 0.18,
    "vgg11_cifar": 9.23,
    "digits_cnn": 0.04,
}


@pytest.mark.parametrize("name", OWN)
def test_own_network_runs_and_traces(name):
    model, spec = build(f"dfq/{name}").eval(), published_input_spec(f"dfq/{name}")
    images = torch.randn(2, *spec.size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = model(images)
        assert logits.shape == (2, 10)
        assert torch.equal(fx.symbolic_trace(model)(images), logits)


@pytest.mark.parametrize("name", OWN)
def test_own_network_has_the_published_number_of_parameters(name):
    count = sum(parameter.numel() for parameter in build(f"dfq/{name}").parameters())
    assert count / 1e6 == pytest.approx(PARAMETERS[name], abs=0.006)


@pytest.mark.parametrize("name", OWN)
def test_own_network_takes_a_number_of_classes(name):
    assert list(build(f"dfq/{name}", 7).parameters())[-1].shape == (7,)


def test_option_a_shortcut_has_no_parameters():
    assert not [key for key in build("dfq/resnet20").state_dict() if "shortcut" in key]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "googlenet", "inception_v3", "squeezenet1_1"])
def test_torchvision_network_builds_with_any_number_of_classes(name):
    spec = published_input_spec(f"torchvision/{name}")
    with torch.inference_mode():
        assert build(f"torchvision/{name}", 5).eval()(torch.zeros(1, *spec.size)).shape == (1, 5)


def test_auxiliary_heads_are_neither_built_nor_loaded():
    assert not [key for key in build("torchvision/googlenet").state_dict() if key.startswith("aux")]
    assert is_outside("googlenet", "aux1.conv.conv.weight")
    assert is_outside("inception_v3", "AuxLogits.fc.weight")
    assert not is_outside("resnet18", "fc.weight")


def test_centred_input_equals_torchvision_own_transform():
    """Stating mean and std 0.5 gives the network what torchvision's `transform_input` gives it."""
    pixels = torch.rand(2, 3, 8, 8)
    ours = published_input_spec("torchvision/googlenet").normalize(pixels)
    published = build("torchvision/googlenet")
    published.transform_input = True
    imagenet = published_input_spec("torchvision/resnet18").normalize(pixels)
    torch.testing.assert_close(ours, published._transform_input(imagenet), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("arch", "size"),
    [
        ("torchvision/resnet18", (3, 224, 224)),
        ("torchvision/efficientnet_b1", (3, 240, 240)),
        ("torchvision/inception_v3", (3, 299, 299)),
        ("torchvision/vit_h_14", (3, 224, 224)),
        ("resnet18", (3, 224, 224)),
        ("dfq/resnet56", (3, 32, 32)),
        ("dfq/digits_cnn", (1, 8, 8)),
    ],
)
def test_published_input_size(arch, size):
    assert published_input_spec(arch).size == size


def test_published_normalisation():
    for arch in ("torchvision/resnet18", "dfq/resnet20"):
        spec = published_input_spec(arch)
        assert (spec.mean, spec.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert published_input_spec("net.py:make") is None


def test_bare_name_means_torchvision_then_timm_then_own():
    pytest.importorskip("timm")
    assert full_names("resnet18") == ["torchvision/resnet18", "timm/resnet18"]
    assert full_names("resnet20") == ["dfq/resnet20"]
    assert full_names("resnet26d") == ["timm/resnet26d"]


def test_timm_network():
    pytest.importorskip("timm")
    model = build("timm/mobilenetv3_small_050", 4).eval()
    spec = published_input_spec("timm/mobilenetv3_small_050.lamb_in1k")
    with torch.inference_mode():
        assert model(torch.zeros(1, *spec.size)).shape == (1, 4)


def test_missing_timm_is_a_clear_error(monkeypatch):
    monkeypatch.setattr(timm_library, "installed", lambda: False)
    with pytest.raises(DfqError, match="timm is not installed") as caught:
        build("timm/resnet18")
    assert 'pip install "dfq-toolkit[timm]"' in caught.value.way_out
    assert full_names("resnet18") == ["torchvision/resnet18"]


@pytest.mark.parametrize(
    ("arch", "match"),
    [
        ("torchvision/resnet81", "torchvision/resnet18"),
        ("dfq/resnet-20", "dfq/resnet20"),
        ("mobilenetv2", "torchvision/mobilenet_v2"),
        ("dfg/resnet20", "dfq/resnet20"),
        ("timm/hf-hub:someone/net", ""),
        ("", ""),
        ("zzzzzz", ""),
    ],
)
def test_unknown_name_comes_with_close_matches(arch, match):
    with pytest.raises(DfqError, match="unknown architecture") as caught:
        build(arch)
    assert match in caught.value.way_out
    assert caught.value.exit_code == 2


def test_known_names_are_unique_and_have_a_library():
    names = known_names()
    assert len(names) == len(set(names))
    assert {name.split("/")[0] for name in names} <= set(registry.LIBRARIES)


def test_zero_classes_are_refused():
    with pytest.raises(DfqError, match="0 classes"):
        build("dfq/resnet20", 0)


USER_FILE = """
from torch import nn
from neighbour import WIDTH

def make(num_classes=3):
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(nn.Conv2d(3, WIDTH, 3), pool, nn.Linear(WIDTH, num_classes))

def fixed():
    return make()

def broken():
    raise RuntimeError("no such GPU")

def wrong():
    return "a string"

def needy(depth):
    return make()

constant = 3
"""


@pytest.fixture
def user_file(tmp_path):
    (tmp_path / "neighbour.py").write_text("WIDTH = 4\n")
    path = tmp_path / "net.py"
    path.write_text(USER_FILE)
    return path


def test_user_file_factory(user_file):
    assert isinstance(build(f"{user_file}:make"), nn.Module)
    assert build(f"{user_file}:make", 9)[-1].out_features == 9


@pytest.mark.parametrize(
    ("factory", "found"),
    [
        (":broken", "no such GPU"),
        (":wrong", "returns str"),
        (":needy", "missing 1 required positional argument"),
        (":absent", "'absent' does not exist"),
        (":constant", "'constant' is not a function"),
        ("", "architecture"),
        (":", "architecture"),
    ],
)
def test_user_file_failures(user_file, factory, found):
    with pytest.raises(DfqError) as caught:
        build(f"{user_file}{factory}")
    assert found in caught.value.found
    assert caught.value.needed and caught.value.way_out


@pytest.mark.parametrize("text", ["def make(:", "import not_a_module_anywhere", "raise SystemExit(3)", "1 / 0"])
def test_user_file_that_does_not_import(tmp_path, text):
    path = tmp_path / "net.py"
    path.write_text(text)
    with pytest.raises(DfqError, match="fails to import"):
        build(f"{path}:make")


def test_user_factory_without_num_classes_says_so(user_file):
    with pytest.raises(DfqError, match="takes no num_classes"):
        build(f"{user_file}:fixed", 5)


def test_missing_user_file():
    with pytest.raises(DfqError, match=r"no file 'nowhere\.py'"):
        build("nowhere.py:make")
