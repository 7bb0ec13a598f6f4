"""The ParagonSR2 generators: three families of Philip Hofmann's networks that load the published weights.

`hybrid` (November 2025), `dual_path` (the final family, January 2026) and `magic` (the first, early November
2025) share the parts in `blocks`, `attention` and `resampler`.
"""

from traiNNer.archs.paragonsr2 import dual_path, generations, hybrid, magic

__all__ = ["dual_path", "generations", "hybrid", "magic"]
