"""A contender in its own environment: ``chat_peer.py NAME MODEL_FOLDER``. Reads {"prompt": [...], "tokens": N} a line, answers {"said", "first_ms", "rest_ms"}.

``first_ms``: the prompt and the first token; ``rest_ms``: all tokens after it. Greedy, float32, all cores, no stop token.
"""

import json
import sys
import time


def transformers_eager(folder):
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()

    @torch.no_grad()
    def answer(prompt, tokens):
        cache = transformers.DynamicCache(config=model.config)
        ids, said, marks = torch.tensor([prompt]), [], [time.perf_counter()]
        for _ in range(tokens):
            ids = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1:].argmax(-1)
            said.append(int(ids))
            marks.append(time.perf_counter())
        return said, marks[1] - marks[0], marks[-1] - marks[1]

    return answer, f"transformers {transformers.__version__} eager, torch {torch.__version__}"


def onnxruntime_genai(folder):
    import numpy as np
    import onnxruntime_genai as genai

    model = genai.Model(folder)

    def answer(prompt, tokens):
        settings = genai.GeneratorParams(model)
        settings.set_search_options(max_length=len(prompt) + tokens, min_length=len(prompt) + tokens, do_sample=False)
        said, marks = [], [time.perf_counter()]
        generator = genai.Generator(model, settings)
        generator.append_tokens(np.array(prompt, np.int32))
        for _ in range(tokens):
            generator.generate_next_token()
            said.append(int(generator.get_next_tokens()[0]))
            marks.append(time.perf_counter())
        return said, marks[1] - marks[0], marks[-1] - marks[1]

    return answer, f"onnxruntime-genai {genai.__version__}"


def openvino_genai(folder, attention="PA"):
    import numpy as np
    import openvino
    import openvino_genai as genai

    settings = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "ATTENTION_BACKEND": attention}
    pipeline = genai.LLMPipeline(folder, "CPU", **settings)

    def answer(prompt, tokens):
        config = genai.GenerationConfig()
        config.max_new_tokens, config.ignore_eos, config.do_sample = tokens, True, False
        marks = [time.perf_counter()]
        result = pipeline.generate(openvino.Tensor(np.array([prompt], np.int64)), config, lambda *_: marks.append(time.perf_counter()) or False)
        end = time.perf_counter()
        first = result.perf_metrics.get_ttft().mean / 1e3
        return list(result.tokens[0]), first, end - marks[0] - first

    return answer, f"openvino-genai {genai.__version__}"


def openvino_genai_sdpa(folder):
    return openvino_genai(folder, "SDPA")


answer, version = globals()[sys.argv[1]](sys.argv[2])
print(json.dumps({"version": version}), flush=True)
for line in sys.stdin:
    said, first_s, rest_s = answer(**json.loads(line))
    print(json.dumps({"said": said, "first_ms": first_s * 1e3, "rest_ms": rest_s * 1e3}), flush=True)
