"""A Llama decoder written out in torch: what remains of transformers' when only
this shape has to run. Tied head, no dropout, causal attention without a mask."""

import json
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


class Block(nn.Module):
    def __init__(self, width, heads, kv_heads, size, inner, eps):
        super().__init__()
        self.heads, self.kv_heads, self.size = heads, kv_heads, size
        self.norm_in, self.norm_post = nn.RMSNorm(width, eps), nn.RMSNorm(width, eps)
        self.qkv = nn.Linear(width, (heads + 2 * kv_heads) * size, bias=False)
        self.out = nn.Linear(heads * size, width, bias=False)
        self.gate_up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x, cos, sin):
        rows, length, _ = x.shape
        parts = self.qkv(self.norm_in(x)).view(rows, length, -1, self.size).transpose(1, 2)
        q, k, v = parts.split((self.heads, self.kv_heads, self.kv_heads), 1)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.out(attended.transpose(1, 2).reshape(rows, length, -1))
        gate, up = self.gate_up(self.norm_post(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Decoder(nn.Module):
    def __init__(self, directory):
        super().__init__()
        c = json.loads((Path(directory) / "config.json").read_text())
        width, heads = c["hidden_size"], c["num_attention_heads"]
        size = c.get("head_dim") or width // heads
        self.embed = nn.Embedding(c["vocab_size"], width)
        self.blocks = nn.ModuleList(Block(width, heads, c["num_key_value_heads"], size, c["intermediate_size"],
                                          c["rms_norm_eps"]) for _ in range(c["num_hidden_layers"]))
        self.norm = nn.RMSNorm(width, c["rms_norm_eps"])
        for name, parameter in self.named_parameters():
            if "norm" not in name:
                nn.init.normal_(parameter, std=c.get("initializer_range", 0.02))
        theta = c.get("rope_theta") or c["rope_parameters"]["rope_theta"]
        rates = theta ** (-torch.arange(0, size, 2).float() / size)
        angles = torch.outer(torch.arange(c["max_position_embeddings"]).float(), rates).repeat(1, 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, ids):
        x = self.embed(ids)
        cos, sin = self.cos[:ids.shape[1]], self.sin[:ids.shape[1]]
        for block in self.blocks:
            x = block(x, cos, sin)
        return F.linear(self.norm(x), self.embed.weight)
