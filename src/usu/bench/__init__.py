"""Benchmarks: many images, models, sources and upsamplers, judged by many metrics, on one machine or many."""
