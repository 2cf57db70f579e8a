"""Multimodal networks: a dual encoder, and a fusion of image, text and audio.

::

    model = Fusion(config)                      # or multimodal_checkpoint.load(folder)
    encoded = {"image": model.encode("image", {"pixel_values": pixels}), "text": model.encode("text", tokens)}    # Encoded(pooled, tokens, mask): cacheable
    found = model.fuse(encoded, present)        # Fused(logits, joint, alone); present: bool [B, len(config.modalities)], None: all of what is there
    found = model(feeds, present)               # both at once; feeds: {"image": {"pixel_values": ...}, "text": {"input_ids": ..., "attention_mask": ...}}

    model = DualEncoder(config)
    pooled = model.encode("image", feeds).pooled    # [B, D] of the encoder: cacheable while the encoder is frozen
    image = model.embed("image", pooled)            # [B, width (+ text features with ConSE)], length 1
    model.scale(), model.bias                       # exp(learned), learned
"""
