"""A Marian model as two ONNX graphs; run as a process of its own (see `exports`).

    encoder  ids, mask (rows, source)         ─► cross_0, cross_1 …  (2, rows, heads, source, size) of each layer
    decoder  token (rows * beams,), bias (vocabulary,), top ()
             mask (rows, source), cross_0 …, past_0 …  (2, rows * beams, heads, length >= 0, size)
                                              ─► values, ids (rows * beams, top), norm, norm_all, present_0 …

The beams of a row share its cross-attention keys and values: they are so many queries over them, so nothing is
copied for each beam. ``bias`` is added to the logits (minus infinity for what may not come); of what remains only
the ``top`` largest leave the graph, with the logarithm of the sum of all, with the bias and without it.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from .weights import lay_out

_OPSET: Final = 17


def make(folder: str, to: str) -> None:
    """Fill a new folder with ``encoder.onnx``, ``decoder.onnx`` and their weights."""
    import torch
    from transformers import MarianMTModel

    os.mkdir(to)
    model = MarianMTModel.from_pretrained(folder, dtype=torch.float32).eval()
    encoder, decoder = (os.path.join(to, f"{name}.onnx") for name in ("encoder", "decoder"))
    with torch.no_grad():
        cross = _export_encoder(model, encoder)
        _export_decoder(model, cross, decoder)
    lay_out((encoder, decoder))


def _export_encoder(model: Any, path: str) -> list[Any]:
    import torch

    graph = _encoder(model)
    # Two rows, one of them padded: nothing may be taken for a constant, and no mask for all ones.
    ids = torch.tensor([[5, 6, 7], [5, 6, 0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    names = [f"cross_{number}" for number in range(len(model.model.decoder.layers))]
    axes = {"ids": {0: "rows", 1: "source"}, "mask": {0: "rows", 1: "source"}}
    torch.onnx.export(
        graph, (ids, mask), path, dynamo=False, opset_version=_OPSET, input_names=["ids", "mask"], output_names=names,
        dynamic_axes={**axes, **{name: {1: "rows", 3: "source"} for name in names}},
    )  # fmt: skip
    return list(graph(ids, mask))


def _export_decoder(model: Any, cross: list[Any], path: str) -> None:
    import torch

    count = len(cross)
    beams, length = 3, 2
    shape = (2, cross[0].shape[1] * beams, cross[0].shape[2], length, cross[0].shape[4])
    given = {
        "token": torch.arange(shape[1]), "bias": torch.zeros(model.final_logits_bias.shape[1]), "top": torch.tensor(2),
        "mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
        **{f"cross_{number}": one for number, one in enumerate(cross)},
        **{f"past_{number}": torch.randn(shape) for number in range(count)},
    }  # fmt: skip
    outputs = ["values", "ids", "norm", "norm_all", *(f"present_{number}" for number in range(count))]
    axes: dict[str, dict[int, str]] = {"token": {0: "beams"}, "mask": {0: "rows", 1: "source"}}
    axes |= {name: {0: "beams", 1: "top"} for name in ("values", "ids")}
    axes |= {name: {0: "beams"} for name in ("norm", "norm_all")}
    for number in range(count):
        axes[f"cross_{number}"] = {1: "rows", 3: "source"}
        axes[f"past_{number}"] = {1: "beams", 3: "length"}
        axes[f"present_{number}"] = {1: "beams", 3: "longer"}
    torch.onnx.export(
        _decoder(model), tuple(given.values()), path, dynamo=False, opset_version=_OPSET, input_names=list(given),
        output_names=outputs, dynamic_axes=axes,
    )  # fmt: skip


def _heads(states: Any, attention: Any) -> Any:
    """(rows, tokens, heads * size) as (rows, heads, tokens, size)."""
    return states.reshape(states.shape[0], -1, attention.num_heads, attention.head_dim).transpose(1, 2)


def _attended(attention: Any, states: Any, keys: Any, values: Any, away: Any) -> Any:
    """What a layer's attention makes of states (rows, tokens, heads * size); ``away`` is added to the scores."""
    import torch

    queries = _heads(attention.q_proj(states) * attention.scaling, attention)
    scores = queries @ keys.transpose(2, 3)
    weights = torch.softmax(scores if away is None else scores + away, dim=-1)
    mixed = (weights @ values).transpose(1, 2).reshape(states.shape[0], -1, attention.embed_dim)
    return attention.out_proj(mixed)


def _fed(layer: Any, states: Any) -> Any:
    return layer.final_layer_norm(states + layer.fc2(layer.activation_fn(layer.fc1(states))))


def _away(mask: Any) -> Any:
    import torch

    return (1.0 - mask[:, None, None, :].to(torch.float32)) * torch.finfo(torch.float32).min


def _encoder(model: Any) -> Any:
    import torch

    encoder, layers = model.model.encoder, model.model.decoder.layers

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: Any, mask: Any) -> Any:
            places = encoder.embed_positions.weight[: ids.shape[1]]
            states = encoder.embed_tokens(ids) * encoder.embed_scale + places
            away = _away(mask)
            for layer in encoder.layers:
                own = layer.self_attn
                keys, values = _heads(own.k_proj(states), own), _heads(own.v_proj(states), own)
                states = layer.self_attn_layer_norm(states + _attended(own, states, keys, values, away))
                states = _fed(layer, states)
            attentions = [layer.encoder_attn for layer in layers]
            return tuple(
                torch.stack([_heads(one.k_proj(states), one), _heads(one.v_proj(states), one)]) for one in attentions
            )

    return Encoder().eval()


def _decoder(model: Any) -> Any:
    import torch

    decoder = model.model.decoder
    count = len(decoder.layers)

    class Decoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, token: Any, bias: Any, top: Any, mask: Any, *given: Any) -> Any:
            cross, past = given[:count], given[count:]
            place = decoder.embed_positions.weight[past[0].shape[3]]
            states = (decoder.embed_tokens(token) * decoder.embed_scale + place)[:, None, :]
            away = _away(mask)
            present = []
            for number, layer in enumerate(decoder.layers):
                states, longer = self.layer(layer, states, past[number], cross[number], away)
                present.append(longer)
            # Of two dimensions, so that the weights of the embedding serve as they lie.
            logits = torch.nn.functional.linear(states[:, 0], model.lm_head.weight, model.final_logits_bias[0])
            allowed = logits + bias
            values, ids = torch.topk(allowed, top, dim=1)
            return values, ids, torch.logsumexp(allowed, dim=1), torch.logsumexp(logits, dim=1), *present

        def layer(self, layer: Any, states: Any, past: Any, cross: Any, away: Any) -> Any:
            own, other = layer.self_attn, layer.encoder_attn
            now = torch.stack([_heads(own.k_proj(states), own), _heads(own.v_proj(states), own)])
            longer = torch.cat([past, now], dim=3)
            states = layer.self_attn_layer_norm(states + _attended(own, states, longer[0], longer[1], None))
            # The beams of a row side by side, as its queries.
            beside = states.reshape(cross.shape[1], -1, other.embed_dim)
            heard = _attended(other, beside, cross[0], cross[1], away).reshape(-1, 1, other.embed_dim)
            return _fed(layer, layer.encoder_attn_layer_norm(states + heard)), longer

    return Decoder().eval()


if __name__ == "__main__":
    make(*sys.argv[1:])
