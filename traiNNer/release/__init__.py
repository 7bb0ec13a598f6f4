"""From trained weights to files that others load: safetensors, ONNX, a model card."""
