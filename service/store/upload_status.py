"""Where an upload in parts stands."""

from enum import StrEnum


class UploadStatus(StrEnum):
    """OpenAI's words; only a pending upload changes."""

    PENDING = "pending"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
