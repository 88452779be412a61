"""The engine: a content-addressed store of bytes that knows nothing of models."""
