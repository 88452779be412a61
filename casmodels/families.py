"""Model specs of one or two well-known models of each family, so that `pull whisper-tiny` and the like work.

A spec is a name for an upstream and what was known of it, no more: what is pulled is what upstream has now, and its
licence is what its card says then. These give way to every name of the user's own. LSTM, GRU, Prophet and random
forests are the user's own models, and have none.
"""

from __future__ import annotations

from casmodels.specs import ModelSpec, ModelType

FAMILIES = (
    ModelSpec(
        id="whisper-tiny",
        name="Whisper tiny",
        model_type=ModelType.AUDIO_STT,
        huggingface_id="openai/whisper-tiny",
        description="Speech to text, in many languages; the smallest of its family.",
        context_length=448,
        parameters="39M",
        licence="apache-2.0",
    ),
    ModelSpec(
        id="whisper-base",
        name="Whisper base",
        model_type=ModelType.AUDIO_STT,
        huggingface_id="openai/whisper-base",
        description="Speech to text, in many languages.",
        context_length=448,
        parameters="74M",
        licence="apache-2.0",
    ),
    ModelSpec(
        id="xtts-v2",
        name="XTTS v2",
        model_type=ModelType.AUDIO_TTS,
        huggingface_id="coqui/XTTS-v2",
        description="Text to speech in the voice of a short sample, by Coqui.",
        aliases=("coqui-tts",),
        licence="coqui-public-model-license",
    ),
    ModelSpec(
        id="silero-vad",
        name="Silero VAD",
        model_type=ModelType.AUDIO_VAD,
        huggingface_id="onnx-community/silero-vad",
        description="Tells speech from silence; ONNX.",
        parameters="309K",
        licence="mit",
    ),
    ModelSpec(
        id="yolov8n",
        name="YOLOv8 nano",
        model_type=ModelType.VISION_DETECTION,
        huggingface_id="Ultralytics/YOLOv8",
        description="Finds objects in images; the smallest of its family.",
        parameters="3.2M",
        licence="agpl-3.0",
        files=("yolov8n.pt",),
    ),
    ModelSpec(
        id="clip-vit-base-patch32",
        name="CLIP ViT-B/32",
        model_type=ModelType.VISION_EMBEDDING,
        huggingface_id="openai/clip-vit-base-patch32",
        description="Embeddings of images and texts in one space.",
        context_length=77,
        parameters="151M",
        aliases=("clip",),
    ),
    ModelSpec(
        id="stable-diffusion-v1-5",
        name="Stable Diffusion v1.5",
        model_type=ModelType.VISION_GENERATION,
        huggingface_id="stable-diffusion-v1-5/stable-diffusion-v1-5",
        description="Images from texts.",
        context_length=77,
        parameters="1.07B",
        aliases=("stable-diffusion",),
        licence="creativeml-openrail-m",
    ),
    ModelSpec(
        id="bart-large-cnn",
        name="BART large, for summaries",
        model_type=ModelType.TEXT_GENERATION,
        huggingface_id="facebook/bart-large-cnn",
        description="Summaries of English news.",
        context_length=1024,
        parameters="406M",
        aliases=("bart",),
        licence="mit",
    ),
    ModelSpec(
        id="tinyllama-1.1b-chat",
        name="TinyLlama 1.1B Chat",
        model_type=ModelType.CHAT_COMPLETION,
        huggingface_id="TinyLlama/TinyLlama-1.1B-Chat-v1.0",
        description="A small model of LLaMA's architecture, which needs no permission to be fetched.",
        context_length=2048,
        parameters="1.1B",
        aliases=("tinyllama",),
        licence="apache-2.0",
    ),
    ModelSpec(
        id="gpt-2",
        name="GPT-2",
        model_type=ModelType.TEXT_GENERATION,
        huggingface_id="openai-community/gpt2",
        description="Goes on with an English text.",
        context_length=1024,
        parameters="124M",
        licence="mit",
    ),
)
