"""faster-whisper in its own environment: reads paths of .npy clips (float32, 16 kHz), a line each, and answers each with {"text", "ms", "cpu_ms"}."""

import json
import os
import sys
import time

import ctranslate2
import faster_whisper
import numpy as np

model = faster_whisper.WhisperModel(sys.argv[1], device="cpu", compute_type="int8", cpu_threads=len(os.sched_getaffinity(0)))
print(json.dumps({"faster-whisper": faster_whisper.__version__, "ctranslate2": ctranslate2.__version__}), flush=True)
for line in sys.stdin:
    samples = np.load(line.strip())
    start, start_cpu = time.perf_counter(), time.process_time()
    segments, _ = model.transcribe(samples, beam_size=1, language="en")
    text = "".join(segment.text for segment in segments).strip()
    print(json.dumps({"text": text, "ms": (time.perf_counter() - start) * 1e3, "cpu_ms": (time.process_time() - start_cpu) * 1e3}), flush=True)
