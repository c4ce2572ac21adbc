"""Adapters: one file for each kind of model, importing its libraries only when one loads.

The registry below names them as text, so that looking one up imports nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType

# Read by onnxruntime at import: without it, it writes telemetry files and starts a thread. Every adapter's module
# comes after this one.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "onnx": "sharedmodel.server.models.onnx:OnnxModel",
        "cnocr": "sharedmodel.server.models.cnocr:CnOcrModel",
        "cnstd": "sharedmodel.server.models.cnstd:CnStdModel",
        "rapidocr": "sharedmodel.server.models.rapidocr:RapidOcrModel",
        "embedder": "sharedmodel.server.models.embedder:EmbedderModel",
        "bgem3": "sharedmodel.server.models.bgem3:BgeM3Model",
        "sapiens": "sharedmodel.server.models.sapiens:SapiensModel",
        "translator": "sharedmodel.server.models.translator:TranslatorModel",
        "pipeline": "sharedmodel.server.models.pipeline:PipelineModel",
    }
)
"""What `kind = "..."` in a configuration file stands for: module:class."""
