"""Benchmarks: many images, models, sources and upsamplers, judged by many metrics, on one machine or many."""

try:
    import pyarrow as _pyarrow  # noqa: F401 - what all results are kept in
except ImportError as missing:
    raise ImportError("benchmarks need pyarrow: pip install 'usu-xai[bench]'") from missing
