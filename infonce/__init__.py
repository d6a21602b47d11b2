"""Fine-tune text encoders with InfoNCE, and judge what came of it."""
