"""mmedge: a trained multimodal model, on a small computer with a camera and a microphone."""

__version__ = "0.1.0"
