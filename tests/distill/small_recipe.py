"""A recipe whose encoders are tiny, and pictures of colours with captions: a training of a second."""

from __future__ import annotations

import json

from evaluate.data_sets import COLOURS, json_lines, png, write

RECIPE = """
schema = "mmedge.recipe/1"
name = "small"
[models.eyes]
family = "dual_encoder"
folder = "encoders"
[models.eyes.train]
steps = 6
batch = 8
{train}
[models.eyes.train.network]
kind = "dual_encoder"
image = "image/"
text = "text/"
width = 8
{network}
[models.eyes.train.splits]
{splits}
"""
FOLDS = 'train = ""\nfolds = ["one", "two"]'


def small_recipe(folder, train="", network="", splits=FOLDS):
    """The path of the recipe; the encoders beside it."""
    import transformers
    from checkpoints import spread

    from mmedge.nets.encoders import byte_bert, byte_tokenizer, vit

    made = folder / "encoders"
    if not made.exists():
        bert = transformers.BertConfig(**{key: value for key, value in byte_bert(64, 16, 1, 2).config.items() if key != "model_type"})
        seer = transformers.ViTConfig(**{key: value for key, value in vit(16, 8, 16, 1, 2).config.items() if key != "model_type"})
        spread(transformers.BertModel(bert)).save_pretrained(made / "text")
        spread(transformers.ViTModel(seer)).save_pretrained(made / "image")
        write(made / "text" / "tokenizer.json", byte_tokenizer())
        size = {"height": 16, "width": 16}
        write(made / "image" / "preprocessor_config.json", json.dumps({"image_processor_type": "ViTImageProcessor", "size": size}))
    return write(folder / "small.toml", RECIPE.format(train=train, network=network, splits=splits))


def captioned(folder, count=12, splits=("one", "two"), **columns):
    """Pictures of colours with their names."""
    rows = []
    for number in range(count):
        colour = [*COLOURS][number % len(COLOURS)]
        write(folder / f"{number}.png", png(colour, 8 + number))
        row = {"file_name": f"{number}.png", "text": f"A {colour} square, the {number}th.", "split": splits[number % len(splits)], **columns}
        rows.append({name: value for name, value in row.items() if value is not None})
    json_lines(folder / "metadata.jsonl", rows)
    return folder
