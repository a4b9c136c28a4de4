"""Makes torch_vectors.npz and the torch_*.pth/.pt files beside this script, in an environment of its own.

    pip install torch torchvision timm transformers open_clip_torch
    git clone https://github.com/facebookresearch/dinov2
    python tests/reference/make_torch_vectors.py --dinov2 dinov2

The weights are made from the names and shapes of the tensors (tests/support/torch_files.py), so that only names, shapes
and the features of two images are written. Made with torch 2.13.0, torchvision 0.28.0, timm 1.0.31, transformers 5.24.0,
open_clip_torch 3.3.0 and DINOv2's repository at its head of 2026, on a CPU in float32.
"""

import argparse
import collections
import functools
import json
import pathlib
import sys

import numpy as np
import open_clip
import timm
import torch
import torchvision
import transformers
from torch import nn

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "support"))

import torch_files  # noqa: E402


class Case:
    """A reference model, what its features are, and the side of the images."""

    def __init__(self, model, size, features, source=None):
        self.model, self.size, self.features = model, size, features
        self.shapes = {name: tuple(t.shape) for name, t in (source or model).state_dict().items()}
        state = {name: torch.from_numpy(a) for name, a in torch_files.tensors(self.shapes).items()}
        if source is None:
            model.load_state_dict(state)
        else:  # saved at another size: the library itself brings it to this one
            self.load(state)
        self.model.eval()

    def load(self, state):
        state = timm.models.vision_transformer.checkpoint_filter_fn(state, self.model)
        self.model.load_state_dict(state)

    def run(self):
        images = torch.from_numpy(torch_files.images(self.size).transpose(0, 3, 1, 2).copy())
        with torch.no_grad():
            return self.features(self.model, images).numpy()


class MaeCase(Case):
    def load(self, state):
        """As `interpolate_pos_embed` of facebookresearch/mae does."""
        positions = state["pos_embed"]
        side = int((positions.shape[1] - 1) ** 0.5)
        grid = positions[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        new = self.size // self.model.patch_embed.patch_size[0]
        grid = nn.functional.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
        state["pos_embed"] = torch.cat((positions[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)), dim=1)
        self.model.load_state_dict(state)


def pooled(model, x):
    return model.forward_head(model.forward_features(x), pre_logits=True)


def mean_of_normed(model, x):
    return model.forward_features(x)[:, model.num_prefix_tokens :].mean(1)


def timm_vit(size, trained_on, case=Case, name="vit_base_patch16_224", features=pooled, **changes):
    made = functools.partial(timm.create_model, name, **changes)
    if size == trained_on:
        return case(made(img_size=size), size, features)
    return case(made(img_size=size), size, features, made(img_size=trained_on))


TINY = dict(patch_size=4, embed_dim=128, depth=2, num_heads=2)


def dinov2(size, registers=0, tiny=False, what="x_norm_clstoken"):
    from dinov2.models import vision_transformer as vits

    own = dict(img_size=28, patch_size=4) if tiny else dict(img_size=518, patch_size=14)
    settings = dict(
        init_values=1.0, block_chunks=0, num_register_tokens=registers, interpolate_antialias=bool(registers),
        interpolate_offset=0.0 if registers else 0.1, **own,
    )
    if tiny:
        model = vits.DinoVisionTransformer(embed_dim=128, depth=2, num_heads=2, mlp_ratio=4, **settings)
    else:
        model = vits.vit_base(**settings)

    def features(model, x):
        found = model.forward_features(x)[what]
        return found if found.ndim == 2 else found.mean(1)

    return Case(model, size, features)


def clip_openai(size, tiny=False):
    vision = dict(image_size=32, patch_size=4, width=128, layers=2) if tiny else dict(
        image_size=224, patch_size=16, width=768, layers=12)
    text = dict(context_length=4, vocab_size=8, width=64, heads=1, layers=1)
    model = open_clip.CLIP(16, vision, text, quick_gelu=True)

    def features(model, x):
        seen = {}
        hook = model.visual.ln_post.register_forward_hook(lambda _, __, out: seen.update(out=out))
        model.visual(x)
        hook.remove()
        out = seen["out"]
        return out if out.ndim == 2 else out[:, 0]

    return Case(model, size, features)


def clip_hub(size, tiny=False):
    own = dict(hidden_size=128, intermediate_size=512, num_hidden_layers=2, num_attention_heads=2, patch_size=4,
               image_size=32) if tiny else dict(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, patch_size=16, image_size=224)
    model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**own))
    return HubCase(model, size, lambda m, x: m(x, interpolate_pos_encoding=True).pooler_output)


def dinov2_hub(size, registers=0):
    kind = "Dinov2WithRegisters" if registers else "Dinov2"
    own = dict(hidden_size=128, num_hidden_layers=2, num_attention_heads=2, patch_size=4, image_size=32)
    if registers:
        own["num_register_tokens"] = registers
    config = getattr(transformers, f"{kind}Config")(**own)
    model = getattr(transformers, f"{kind}Model")(config)
    return HubCase(model, size, lambda m, x: m(x).pooler_output)


class HubCase(Case):
    """A model whose files on the hub have names that this version of the library renames as it loads them."""

    def __init__(self, model, size, features):
        prefix = "vision_model." if isinstance(model, transformers.CLIPVisionModel) else ""
        super().__init__(model, size, features)
        if prefix and not any(name.startswith(prefix) for name in self.shapes):
            renamed = {f"{prefix}{name}": name for name in self.shapes}
            self.shapes = {new: self.shapes[old] for new, old in renamed.items()}
            made = torch_files.tensors(self.shapes)
            model.load_state_dict({old: torch.from_numpy(made[new]) for new, old in renamed.items()})


def network(model, features=pooled, size=224):
    return Case(model, size, features)


def torchvision_features(model, x):
    return nn.Sequential(*list(model.children())[:-1])(x).flatten(1)


CASES = {
    # A family each at its own size, 224 pixels.
    "vit_s16": lambda: timm_vit(224, 224, name="vit_small_patch16_224"),
    "vit_b16": lambda: timm_vit(224, 224),
    "vit_b16_mean_norm": lambda: timm_vit(224, 224, global_pool="avg", num_classes=0),
    "mae_b16": lambda: timm_vit(224, 224, MaeCase, num_classes=0),
    "dinov2_b14": lambda: dinov2(224),
    "dinov2_b14_reg4": lambda: dinov2(224, registers=4),
    "dinov2_b14_reg4_timm": lambda: timm_vit(224, 518, name="vit_base_patch14_reg4_dinov2"),
    "clip_b16_openai": lambda: clip_openai(224),
    "clip_b16_hub": lambda: clip_hub(224),
    "resnet50_torchvision": lambda: network(torchvision.models.resnet50(weights=None), torchvision_features),
    "resnet50_timm": lambda: network(timm.create_model("resnet50")),
    "b0_tensorflow": lambda: network(timm.create_model("tf_efficientnet_b0", num_classes=8)),
    "b0": lambda: network(timm.create_model("efficientnet_b0")),
    # Small ones, most of them at another size than their positions are for.
    "tiny_timm": lambda: timm_vit(32, 32, num_classes=5, **TINY),
    "tiny_timm_smaller": lambda: timm_vit(20, 32, num_classes=5, **TINY),
    "tiny_timm_larger": lambda: timm_vit(48, 32, num_classes=5, **TINY),
    "tiny_timm_mean": lambda: timm_vit(32, 32, features=mean_of_normed, num_classes=5, **TINY),
    "tiny_timm_mean_norm": lambda: timm_vit(32, 32, num_classes=5, global_pool="avg", **TINY),
    "tiny_mae": lambda: timm_vit(20, 32, MaeCase, num_classes=0, **TINY),
    "tiny_dinov2": lambda: dinov2(32, tiny=True),
    "tiny_dinov2_smaller": lambda: dinov2(16, tiny=True),
    "tiny_dinov2_reg4": lambda: dinov2(16, registers=4, tiny=True),
    "tiny_dinov2_reg4_timm": lambda: timm_vit(20, 32, num_classes=0, reg_tokens=4, no_embed_class=True,
                                              init_values=1e-5, **TINY),
    "tiny_dinov2_hub": lambda: dinov2_hub(32),
    "tiny_dinov2_hub_reg4": lambda: dinov2_hub(32, registers=4),
    "tiny_clip_openai": lambda: clip_openai(32, tiny=True),
    "tiny_clip_hub": lambda: clip_hub(20, tiny=True),
    "tiny_clip_timm": lambda: timm_vit(32, 32, num_classes=0, pre_norm=True, act_layer="quick_gelu",
                                       norm_layer=functools.partial(nn.LayerNorm, eps=1e-5), **TINY),
    "tiny_resnet": lambda: network(torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, (1, 2, 1, 1)),
                                   torchvision_features, 40),
}  # fmt: skip


def write_files():
    """Writes what `torch.save` and TorchScript make of few tensors; all have the same names and numbers."""
    whole = torch.arange(24, dtype=torch.float32)
    state = collections.OrderedDict(
        rows=whole.view(4, 6), columns=whole.view(4, 6).t(), part=whole[2:13:5], half=whole[:4].half(),
        brain=whole[:4].bfloat16(), double=whole[:3].double(), count=torch.tensor(3), mask=whole[:3] > 1,
        scalar=torch.tensor(2.5), empty=torch.zeros(0, 3), parameter=nn.Parameter(whole[:2].clone()),
    )  # fmt: skip
    checkpoint = {"epoch": 7, "loss": 0.25, "args": argparse.Namespace(lr=1e-3), "model": state, "best": np.float64(1.5)}
    torch.save(state, HERE / "torch_zip.pth")
    torch.save(checkpoint, HERE / "torch_checkpoint.pth")
    torch.save(checkpoint, HERE / "torch_checkpoint_legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(state, HERE / "torch_protocol4.pth", pickle_protocol=4)
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Sequential(nn.SiLU(), nn.Linear(2, 2)))
    module.load_state_dict(
        {n: torch.from_numpy(a) for n, a in torch_files.tensors({n: t.shape for n, t in module.state_dict().items()}).items()}
    )
    module[0].make = functools.partial(nn.functional.silu, inplace=True)
    torch.save(module, HERE / "torch_module.pt")
    del module[0].make
    torch.jit.script(module[:2].eval()).half().save(HERE / "torch_script.pt")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dinov2", required=True, help="a clone of facebookresearch/dinov2")
    sys.path.insert(0, parser.parse_args().dinov2)
    torch.manual_seed(0)
    made = {}
    for name, case in CASES.items():
        one = case()
        made[f"{name}/features"] = one.run()
        made[f"{name}/names"] = np.asarray(json.dumps(one.shapes))
        print(name, made[f"{name}/features"].shape, float(np.abs(made[f"{name}/features"]).mean()), flush=True)
    np.savez_compressed(HERE / "torch_vectors.npz", **made)
    write_files()


if __name__ == "__main__":
    main()
