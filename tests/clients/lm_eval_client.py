"""lm-evaluation-harness against a running server: python lm_eval_client.py BASE_URL MODEL CHECKPOINT.gguf

The task and the tokenizer, which is the checkpoint's own, are made here, so that nothing is fetched. What the harness gets out of the server's
scores must be what it gets of them when they are asked for one by one.
"""

import json
import pathlib
import sys
import tempfile
import urllib.request

import gguf
import lm_eval
from lm_eval.tasks import TaskManager
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

QUESTIONS = [
    ("The capital of France is", [" Paris", " Wednesday"], 0),
    ("Two plus two is", [" seven hundred", " four"], 1),
    ("The opposite of hot is", [" cold", " window"], 0),
    ("Cats and dogs are", [" equations", " animals"], 1),
    ("The sun rises in the", [" east", " cupboard"], 0),
    ("Water is made of hydrogen and", [" spoons", " oxygen"], 1),
]

TASK = """
task: facts
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/facts.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: choices
doc_to_target: answer
target_delimiter: ""
metric_list: [{metric: acc}]
"""


def write_tokenizer(checkpoint: str, folder: pathlib.Path) -> None:
    reader = gguf.GGUFReader(checkpoint)
    texts = lambda key: reader.fields[f"tokenizer.ggml.{key}"].contents()
    tokens, kinds = texts("tokens"), texts("token_type")
    merges = [tuple(merge.split(" ")) for merge in texts("merges")]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.add_special_tokens([token for token, kind in zip(tokens, kinds) if kind == gguf.TokenType.CONTROL])
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=tokens[texts("eos_token_id")]).save_pretrained(folder)


def score(base_url: str, model: str, question: str, choice: str) -> float:
    body = {"model": model, "prompt": question + choice, "echo": True, "logprobs": 0, "max_tokens": 0}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(base_url + "/completions", json.dumps(body).encode(), headers)
    scores = json.load(urllib.request.urlopen(request))["choices"][0]["logprobs"]
    pairs = zip(scores["text_offset"], scores["token_logprobs"])
    return sum(logprob for offset, logprob in pairs if offset >= len(question))


def main(base_url: str, model: str, checkpoint: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write_tokenizer(checkpoint, folder / "tokenizer")
        lines = [json.dumps({"question": q, "choices": c, "answer": a}) for q, c, a in QUESTIONS]
        (folder / "facts.jsonl").write_text("\n".join(lines))
        (folder / "facts.yaml").write_text(TASK.replace("FOLDER", str(folder)))
        arguments = f"model={model},base_url={base_url}/completions,tokenizer={folder}/tokenizer,num_concurrent=4,max_retries=1"
        results = lm_eval.simple_evaluate(
            model="local-completions",
            model_args=arguments,
            tasks=["facts"],
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
            bootstrap_iters=0,
        )
    for sample in results["samples"]["facts"]:
        question, choices, _ = QUESTIONS[sample["doc_id"]]
        for choice, found in zip(choices, sample["filtered_resps"]):
            expected = score(base_url, model, question, choice)
            assert abs(float(found[0]) - expected) < 1e-3, (question, choice, found, expected)
    accuracy = results["results"]["facts"]["acc,none"]
    assert accuracy >= 5 / 6, accuracy
    print(f"lm_eval: {len(QUESTIONS)} questions, accuracy {accuracy:.2f}: ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
