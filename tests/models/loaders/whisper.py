"""A Whisper small enough for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SPECIAL = ("endoftext", "startoftranscript", "en", "translate", "transcribe", "startoflm", "startofprev", "nospeech",
           "notimestamps")  # fmt: skip


def tiny_whisper(place: Path) -> Path:
    """The directory that CTranslate2's converter writes of one with random weights, made from a configuration."""
    import ctranslate2
    import torch
    import transformers

    words = _tokenizer()
    config = transformers.WhisperConfig(
        vocab_size=len(words) + 1501, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, num_mel_bins=80, pad_token_id=256,
        bos_token_id=256, eos_token_id=256, decoder_start_token_id=257, suppress_tokens=None,
        begin_suppress_tokens=None,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.WhisperForConditionalGeneration(config).save_pretrained(place / "original")
    words.save_pretrained(place / "original")
    converter = ctranslate2.converters.TransformersConverter(str(place / "original"), copy_files=["tokenizer.json"])
    converter.convert(str(place / "converted"))
    return place / "converted"


def _tokenizer() -> Any:
    """Single bytes and what Whisper adds to them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: place for place, letter in enumerate(letters)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([f"<|{word}|>" for word in SPECIAL])
    return PreTrainedTokenizerFast(tokenizer_object=made)
