"""Makes references.json: what other implementations answer to the inputs beside their figures.

    pip install scikit-learn==1.9.1 scipy==1.17.1 pycocoevalcap==1.2   (and Java)
    git clone https://github.com/GT-Vision-Lab/VQA
    python tests/evaluate/metrics/make_references.py VQA/PythonEvaluationTools/vqaEvaluation/vqaEval.py captions_val2017.json

The captions are from COCO (2017, validation; CC BY 4.0, COCO Consortium).
"""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np


def classification() -> dict[str, Any]:
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support, roc_auc_score

    cases = []
    for seed, (classes, gone) in enumerate([(2, None), (4, None), (5, "c3")]):  # the last: c3 is expected nowhere, c4 never predicted
        draw = np.random.default_rng(seed)
        names = [f"c{index}" for index in range(classes)]
        expected = draw.choice([name for name in names if name != gone], 60)
        scores = draw.dirichlet(np.ones(classes), 60)
        scores[np.arange(60), [names.index(name) for name in expected]] += 0.25
        scores = np.round(scores, 2)
        predicted = [names[index] for index in scores[:, : classes - (gone is not None)].argmax(axis=1)]
        figures = {"accuracy": accuracy_score(expected, predicted)}
        for average in ("macro", "micro", "weighted"):
            found = precision_recall_fscore_support(expected, predicted, average=average, zero_division=0)
            figures |= {f"{figure}_{average}": value for figure, value in zip(("precision", "recall", "f1"), found)}
        single = precision_recall_fscore_support(expected, predicted, labels=names, zero_division=np.nan)
        areas = [roc_auc_score(expected == name, scores[:, index]) if name in expected else None for index, name in enumerate(names)]
        figures["roc_auc"] = roc_auc_score(expected, scores[:, 1] - scores[:, 0]) if classes == 2 else np.mean([area for area in areas if area is not None])
        cases.append(
            {
                "classes": names,
                "expected": expected.tolist(),
                "predicted": predicted,
                "scores": scores.tolist(),
                "figures": figures,
                "single": {name: [None if np.isnan(part[index]) else float(part[index]) for part in single] for index, name in enumerate(names)},
            }
        )
    return {"cases": cases}


def vqa(script: Path) -> dict[str, Any]:
    """By the script itself, in Python 3: its print statements and tabs are all that Python 2 would read otherwise."""
    source = re.sub(r"print (\".*\")", r"print(\1)", script.read_text(encoding="utf-8").expandtabs(4))
    scope: dict[str, Any] = {}
    exec(compile(source, script.name, "exec"), scope)

    class Table:
        def __init__(self, qa: dict[int, Any]) -> None:
            self.qa = qa

        def getQuesIds(self) -> list[int]:
            return list(self.qa)

    questions = _questions(scope["VQAEval"](Table({}), Table({})).contractions)
    truth, given = {}, {}
    for number, (answer, answers) in enumerate(questions):
        people = [{"answer": text, "answer_id": index} for index, text in enumerate(answers)]
        truth[number] = {"answers": people, "question_type": "what", "answer_type": "other"}
        given[number] = {"answer": answer}
    evaluation = scope["VQAEval"](Table(truth), Table(given), n=12)
    evaluation.evaluate()
    return {"questions": questions, "accuracy": [evaluation.evalQA[number] / 100 for number in range(len(questions))]}


def _questions(contractions: dict[str, str]) -> list[tuple[str, list[str]]]:
    draw = random.Random(0)
    words = [
        "two",
        "Two",
        "a dog",
        "the  dog",
        "dog.",
        "dog",
        "none",
        "1,000",
        "1000",
        "3.5",
        "on the left",
        "t-shirt",
        "t shirt",
        "yes",
        "Yes!",
        "A",
        "is, it",
    ]
    words += [
        "red/white",
        "red / white",
        "don't know",
        "U.S.A.",
        "...",
        "a.m.",
        "dog's",
        "(dog)",
        "10, 20",
        "10,20 a/b",
        "one\tbus",
        " bus ",
        "what?",
        "x" + "." * 40,
    ]
    found = [(f"it {key}", [f"it {value}"] * 9 + ["no"]) for key, value in contractions.items()]
    for _ in range(200):
        common = draw.sample(words, 3)
        people = draw.choices(common, weights=[6, 3, 1], k=10)
        found.append((draw.choice([*common, draw.choice(words)]), people))
    odd = [("x" + "." * 40, ["x......."] * 9 + ["no"]), ("a/b 1,000", ["ab 1000"] * 9 + ["no"]), ("a/b 1000", ["ab 1000"] * 9 + ["no"])]
    return [*found, *odd, ("Yes", ["yes"] * 10), ("yes", ["yes"] * 10), ("dog.", ["dog"] * 10), ("", ["yes"] * 5 + [""] * 5)]


def captions(annotations: Path) -> dict[str, Any]:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    pictures: dict[int, list[str]] = {}
    for row in json.loads(annotations.read_text(encoding="utf-8"))["annotations"]:
        pictures.setdefault(row["image_id"], []).append(row["caption"])
    chosen = [texts for number, texts in sorted(pictures.items()) if any(set("'/&-$(") & set(text) for text in texts)][:60]
    draw = random.Random(0)
    given, references = [], []
    for index, texts in enumerate(chosen):  # a person's; shortened; of another picture; once nothing
        words = texts[0].split()
        given.append([texts[0], " ".join(draw.sample(words, len(words) // 2)), chosen[index - 1][0]][index % 3] if index not in (7, 11) else "")
        references.append(texts[1 : 2 + index % 4])
    given[11] = references[11][0]  # to the letter
    theirs = PTBTokenizer().tokenize({i: [{"caption": text} for text in texts] for i, texts in enumerate(references)})
    ours = PTBTokenizer().tokenize({i: [{"caption": text}] for i, text in enumerate(given)})
    bleu = Bleu(4).compute_score(theirs, ours, verbose=0)[0]
    figures = {f"bleu_{order + 1}": value for order, value in enumerate(bleu)}
    figures |= {"rouge_l": float(Rouge().compute_score(theirs, ours)[0]), "cider_d": float(Cider().compute_score(theirs, ours)[0])}
    program = Meteor()
    statistics = [[float(value) for value in program._stat(ours[i][0], theirs[i]).split()] for i in range(len(given))]
    figures["meteor"] = program.compute_score(theirs, ours)[0]
    tokens = [[ours[i][0], *theirs[i]] for i in range(len(given))]
    return {"given": given, "references": references, "tokens": tokens, "figures": figures, "meteor_statistics": statistics}


def main() -> None:
    script, annotations = map(Path, sys.argv[1:])
    made = {"classification": classification(), "vqa": vqa(script), "captions": captions(annotations)}
    Path(__file__).with_name("references.json").write_text(json.dumps(made, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
