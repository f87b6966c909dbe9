"""Second derivatives exist where fast kernels have none, and afterwards everything is as it was."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.utils.checkpoint as torch_checkpoint
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from xattr_cli.device.curvature.kinks import locate_kinks
from xattr_cli.models.repairs import find_repairs, repaired
from xattr_cli.models.surgery.smoothing import smoothed

SEQUENCE = (2, 3, 4)
ATTENTION = "attention is computed by the math kernel: the fused ones have no second derivatives"
FAST_PATH = "attention layers do not take their fast path"
COPIES = "what in-place operations write over is copied first: derivatives need it"


class Around(nn.Module):
    """A formula of points and layers as a network."""

    def __init__(self, formula, *layers):
        super().__init__()
        self.formula = formula
        self.layers = nn.ModuleList(layers)

    def forward(self, points):
        return self.formula(points, *self.layers)


def recurrent(layer):
    return Around(lambda z, layer: layer(z)[0], layer)


def packed(z, layer):
    sequence = pack_padded_sequence(z, [3, 2], batch_first=True)
    return pad_packed_sequence(layer(sequence)[0], batch_first=True)[0]


def dense():
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))


def hooked(*layers):
    network = nn.Sequential(nn.Linear(4, 4), *layers)
    network[0].register_full_backward_hook(lambda _module, inner, outer: (2 * inner[0],))
    return network


def transformer_layer():
    return nn.TransformerEncoderLayer(4, 2, 8, activation="gelu", batch_first=True)


def checkpointed(reentrant):
    return Around(lambda z, part: checkpoint(part, z, use_reentrant=reentrant) + 1, dense())


def in_parts(reentrant):
    def call(z, part):
        return checkpoint_sequential(part, 2, z, use_reentrant=reentrant)

    return Around(call, nn.Sequential(dense(), dense()))


NETWORKS = {
    "lstm": (lambda: recurrent(nn.LSTM(4, 5, 2, batch_first=True, bidirectional=True)), ()),
    "gru": (lambda: recurrent(nn.GRU(4, 5, batch_first=True)), ()),
    "rnn": (lambda: recurrent(nn.RNN(4, 5, batch_first=True)), ()),
    "packed lstm": (lambda: Around(packed, nn.LSTM(4, 5, batch_first=True)), ()),
    "sdpa": (
        lambda: Around(lambda z, a: functional.scaled_dot_product_attention(z, a(z), z), dense()),
        (ATTENTION,),
    ),
    "causal sdpa": (
        lambda: Around(lambda z, a: functional.scaled_dot_product_attention(a(z), z, z, is_causal=True), dense()),
        (ATTENTION,),
    ),
    "attention with weights": (
        lambda: Around(lambda z, a: a(z, z, z)[0], nn.MultiheadAttention(4, 2, batch_first=True)),
        (FAST_PATH,),
    ),
    "attention": (
        lambda: Around(
            lambda z, a: a(z, z, z, need_weights=False)[0], nn.MultiheadAttention(4, 2, batch_first=True)
        ),
        (ATTENTION, FAST_PATH),
    ),
    "transformer": (
        lambda: nn.Sequential(nn.TransformerEncoder(transformer_layer(), 2), nn.Linear(4, 2)),
        (ATTENTION, FAST_PATH),
    ),
    "reentrant checkpoint": (
        lambda: checkpointed(True),
        ("1 checkpointed calls keep their activations instead of computing them again",),
    ),
    "checkpoint": (
        lambda: checkpointed(False),
        ("1 checkpointed calls keep their activations instead of computing them again",),
    ),
    "checkpointed parts": (
        lambda: nn.Sequential(in_parts(True), in_parts(False)),
        ("2 checkpointed calls keep their activations instead of computing them again",),
    ),
    "in place": (lambda: nn.Sequential(dense(), nn.SiLU(True), nn.ELU(True), dense(), nn.Mish(True)), ()),
    "in place on saved": (lambda: Around(lambda z, part: part(z).sigmoid().mul_(z).add_(z), dense()), (COPIES,)),
    "weight norm": (lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.Tanh()), ()),
    "spectral norm": (
        lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), nn.Tanh()),
        (),
    ),
    "hooked": (
        lambda: hooked(nn.Tanh()),
        ("backward hooks are left out (0): they may change gradients, and see every evaluation",),
    ),
    "hooked before in place": (
        lambda: hooked(nn.SiLU(inplace=True)),
        ("backward hooks are left out (0): they may change gradients, and see every evaluation",),
    ),
    "compiled": (
        lambda: nn.Sequential(torch.compile(dense(), backend="aot_eager"), nn.Tanh()),
        ("torch.compile is left out (0): it has no second derivatives",),
    ),
}
FORWARD_OVER_REVERSE = set(NETWORKS) - {"packed lstm", "in place on saved"}


def lent(name, dtype=torch.float64):
    torch.manual_seed(0)
    build, notes = NETWORKS[name]
    network = build().to(dtype).eval().requires_grad_(False)
    return network, torch.randn(SEQUENCE, dtype=dtype), torch.randn(SEQUENCE, dtype=dtype), notes


def hvp_by_double_backward(network, x, v):
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(leaf).square().sum(), leaf, create_graph=True)
    return torch.autograd.grad((gradient * v).sum(), leaf)[0]


def hvp_forward_over_reverse(network, x, v):
    return torch.func.jvp(torch.func.grad(lambda z: network(z).square().sum()), (x,), (v,))[1]


def hvp_by_differences(network, x, v, step=1e-5):
    def gradient(z):
        leaf = z.detach().requires_grad_()
        return torch.autograd.grad(network(leaf).square().sum(), leaf)[0]

    return (gradient(x + step * v) - gradient(x - step * v)) / (2 * step)


def assert_same(found, expected):
    assert expected.abs().max() > 1e-3
    assert (found - expected).abs().max() < 1e-6 * expected.abs().max()


@pytest.mark.parametrize("name", NETWORKS)
def test_double_backward_is_the_difference_of_gradients(name):
    network, x, v, notes = lent(name)
    with repaired(network, network, x) as found:
        assert_same(hvp_by_double_backward(network, x, v), hvp_by_differences(network, x, v))
    assert found == notes


@pytest.mark.parametrize("name", sorted(FORWARD_OVER_REVERSE))
def test_forward_over_reverse_works_too_also_for_many_directions(name):
    network, x, v, _ = lent(name)
    with repaired(network, network, x):
        expected = hvp_by_double_backward(network, x, v)
        assert_same(hvp_forward_over_reverse(network, x, v), expected)
        many = torch.func.vmap(lambda u: hvp_forward_over_reverse(network, x, u))(torch.stack([v, 2 * v]))
    assert_same(many[1], 2 * expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_repairs_do_not_change_the_function(name):
    network, x, _, _ = lent(name)
    x.requires_grad_()  # without, a reentrant checkpoint warns
    with torch.no_grad():
        expected = network(x)
    with repaired(network, network, x):
        torch.testing.assert_close(network(x), expected, rtol=1e-12, atol=1e-12)


def fails(network, x, v, hvp):
    with pytest.raises(RuntimeError):
        hvp(network, x, v)
    return True


@pytest.mark.parametrize("name", ["sdpa", "attention", "transformer", "reentrant checkpoint", "in place on saved"])
def test_none_of_these_works_without(name):
    assert fails(*lent(name)[:3], hvp_by_double_backward)


def test_gradients_are_those_of_the_network_not_of_its_hooks():
    network, x, v, _ = lent("hooked")
    plain = nn.Sequential(nn.Linear(4, 4), nn.Tanh()).double()
    plain.load_state_dict(network.state_dict())
    with repaired(network, network, x):
        assert_same(hvp_by_double_backward(network, x, v), hvp_by_differences(plain, x, v))
    assert not torch.allclose(hvp_by_double_backward(network, x, v), hvp_by_differences(plain, x, v))


def test_a_lstm_on_the_cpu_in_float32_gets_forward_mode():
    network, x, v, _ = lent("lstm", torch.float32)
    with repaired(network, network, x) as notes:
        found = hvp_forward_over_reverse(network, x, v)
        torch.testing.assert_close(found, hvp_by_double_backward(network, x, v), rtol=1e-3, atol=1e-5)
    if torch.backends.mkldnn.is_available():
        assert notes == ("recurrent layers run without oneDNN, which has no forward-mode derivatives",)


def test_checkpoints_are_counted_inside_a_smoothed_network_too():
    network, x, v, notes = lent("checkpointed parts")
    smooth = smoothed(nn.Sequential(network, nn.ReLU()), beta=5)
    with repaired(smooth, smooth, x) as found:
        assert_same(hvp_by_double_backward(smooth, x, v), hvp_by_differences(smooth, x, v))
    assert found == notes


def test_a_smoothed_network_with_a_compiled_part_is_smooth():
    network, x, v, _ = lent("compiled")
    network.append(torch.compile(nn.ReLU(), backend="aot_eager"))
    smooth = smoothed(network, beta=5)
    with repaired(smooth, smooth, x):
        assert locate_kinks(smooth, lambda: smooth(x.clone().requires_grad_())) == ()
        assert_same(hvp_by_double_backward(smooth, x, v), hvp_by_differences(smooth, x, v))


# --- undoing ------------------------------------------------------------------------------------


def flags(network):
    return {
        "cudnn": torch.backends.cudnn.enabled,
        "mkldnn": torch._C._get_mkldnn_enabled(),
        "sdpa": torch.nn.attention._cur_sdpa_kernel_backends(),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "checkpoint": dict(vars(torch_checkpoint)),
        "stance": torch._dynamo.eval_frame._stance.stance,
        "hooks": [dict(part._backward_hooks) for part in network.modules()],
        "saved tensors": torch._C._autograd._saved_tensors_hooks_is_enabled(),
        "training": [part.training for part in network.modules()],
    }


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_everything_is_as_it_was(name, dtype):
    network, x, _, _ = lent(name, dtype)
    before = flags(network)
    repairs = find_repairs(network, network, x)
    assert flags(network) == before
    with repairs.applied(), repairs.applied():
        inside = flags(network)
    assert flags(network) == before
    if repairs.notes and COPIES not in repairs.notes:
        assert inside != before
    with pytest.raises(KeyError), repairs.applied():
        raise KeyError
    assert flags(network) == before


def test_what_was_off_before_stays_off():
    network, x, _, _ = lent("transformer")
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with repaired(network, network, x):
            pass
        assert not torch.backends.mha.get_fastpath_enabled()
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_an_exception_of_the_network_while_it_is_looked_at_leaves_nothing_behind():
    network = hooked(nn.Tanh())
    before = flags(network)

    def broken(points):
        raise KeyError(points.shape)

    with pytest.raises(KeyError):
        find_repairs(network, broken, torch.randn(SEQUENCE))
    assert flags(network) == before


# --- first derivatives --------------------------------------------------------------------------


def test_first_derivatives_need_fewer_repairs():
    wanted = {name: find_repairs(*first_order(name), order=1).notes for name in NETWORKS}
    assert {name for name, notes in wanted.items() if notes} == {
        "reentrant checkpoint", "checkpoint", "checkpointed parts", "in place on saved", "hooked",
        "hooked before in place",
    }  # fmt: skip


def first_order(name):
    network, x, _, _ = lent(name)
    return network, network, x


@pytest.mark.parametrize("name", ["reentrant checkpoint", "in place on saved", "hooked before in place"])
def test_gradients_exist_that_did_not(name):
    network, x, _, _ = lent(name)
    leaf = x.clone().requires_grad_()
    with pytest.raises(RuntimeError):
        torch.autograd.grad(network(leaf).sum(), leaf)
    step = torch.zeros_like(x)
    step[0, 0, 0] = 1e-6
    with repaired(network, network, x, order=1):
        (gradient,) = torch.autograd.grad(network(leaf).sum(), leaf)
        slope = (network(x + step).sum() - network(x - step).sum()) / 2e-6
    assert gradient[0, 0, 0] == pytest.approx(float(slope), rel=1e-6)


# --- transformers -------------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_second_derivatives_of_a_bert(implementation):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        attn_implementation=implementation,
    )  # fmt: skip
    bert = transformers.BertModel(config).double().eval().requires_grad_(False)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    x, v = torch.randn(2, 2, 5, 16, dtype=torch.float64)

    def network(embedded):
        return bert(inputs_embeds=embedded, attention_mask=mask).last_hidden_state[:, 0].tanh()

    with repaired(bert, network, x) as notes:
        expected = hvp_by_differences(network, x, v)
        assert_same(hvp_by_double_backward(network, x, v), expected)
        assert_same(hvp_forward_over_reverse(network, x, v), expected)
    assert notes == ((ATTENTION,) if implementation == "sdpa" else ())


HIDDEN = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
TRANSFORMERS = {
    "Bert": {**HIDDEN, "intermediate_size": 32, "hidden_act": "relu"},
    "Albert": {**HIDDEN, "embedding_size": 16, "intermediate_size": 32},
    "GPT2": {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0},
    "Llama": {**HIDDEN, "intermediate_size": 32},
    "OPT": {**HIDDEN, "ffn_dim": 32, "word_embed_proj_dim": 16},
    "T5": {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2},
    "DebertaV2": {**HIDDEN, "intermediate_size": 32, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TRANSFORMERS)
@pytest.mark.filterwarnings("ignore")
def test_transformers_are_smoothed_and_have_second_derivatives(name):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**TRANSFORMERS[name])
    model = getattr(transformers, "T5EncoderModel" if name == "T5" else f"{name}Model")(config)
    smooth = smoothed(model.double().eval().requires_grad_(False), beta=5)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    x, v = torch.randn(2, 2, 5, 16, dtype=torch.float64)

    def network(embedded):
        return smooth(inputs_embeds=embedded, attention_mask=mask).last_hidden_state.mean(1)

    assert locate_kinks(smooth, lambda: network(x.clone().requires_grad_())) == ()
    with repaired(smooth, network, x):
        found = hvp_by_double_backward(network, x, v)
        torch.testing.assert_close(found, hvp_forward_over_reverse(network, x, v), rtol=1e-4, atol=1e-6)
        if name not in ("Llama", "T5"):  # which round to float32 inside, too coarse for differences
            assert_same(found, hvp_by_differences(network, x, v))


# --- devices ------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"compiled"}))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_second_derivatives_on_a_gpu_are_those_of_the_cpu(name, dtype):
    network, x, v, _ = lent(name)
    with repaired(network, network, x):
        expected = hvp_by_double_backward(network, x, v)
    network = network.to("cuda", dtype)
    for layer in network.modules():
        if isinstance(layer, nn.RNNBase):
            layer.flatten_parameters()
    x, v = x.to("cuda", dtype), v.to("cuda", dtype)
    with repaired(network, network, x) as notes:
        products = [hvp_by_double_backward(network, x, v)]
        if name in FORWARD_OVER_REVERSE - {"lstm", "gru"}:  # torch's fused cells have no forward mode
            products.append(hvp_forward_over_reverse(network, x, v))
    for product in products:
        error = (product.cpu().double() - expected).norm() / expected.norm()
        assert error < (1e-3 if dtype == torch.float32 else 1e-9)
    if "lstm" in name or name in ("gru", "rnn"):
        assert notes == ("recurrent layers run without cuDNN, which has no derivatives in eval mode",)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_recurrent_layers_on_a_gpu_have_gradients_in_eval_mode(name):
    network, x, _, _ = lent(name, torch.float32)
    network, x = network.cuda(), x.cuda()
    with repaired(network, network, x, order=1):
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(network(leaf).sum(), leaf)
    assert gradient.abs().min() > 0
    assert torch.backends.cudnn.enabled
