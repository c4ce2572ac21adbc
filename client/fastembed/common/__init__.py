"""The part of fastembed.common that TextEmbedding's users name."""
