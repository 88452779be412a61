"""How a loaded model performs: time, throughput, memory, GPUs."""
