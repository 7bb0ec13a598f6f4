"""Files for others: safetensors with metadata, ONNX."""
