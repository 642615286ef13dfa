#!/usr/bin/env python3
"""Holds `tcc eval --tasks` to EleutherAI's own lm_eval, which drives the same artifact through libtcrt: the same accuracies and
perplexities, and the same log-likelihoods of every document to 1e-4 of themselves.

    pip install lm_eval
    check_harness.py ARTIFACT --tcc target/release/tcc --library target/release/libtcrt.so

The tasks are the harness's, with documents of ours (tasks/) in place of its data sets. Without lm_eval it says so and does nothing.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TASKS = {"hellaswag": "hellaswag/hellaswag", "arc_easy": "arc/arc_easy", "arc_challenge": "arc/arc_challenge", "piqa": "piqa/piqa",
         "winogrande": "winogrande/default", "mmlu_abstract_algebra": "mmlu/default/mmlu_abstract_algebra", "wikitext": "wikitext/wikitext"}
TOLERANCE = 1e-4


def write_task(folder, name, harness):
    """The harness's own definition of a task, with a file of ours as its documents."""
    splits = dict.fromkeys(("train", "validation", "test", "dev"), os.path.join(HERE, "tasks", f"{name}.jsonl"))
    with open(os.path.join(folder, f"{name}.yaml"), "w") as file:
        json.dump({"include": os.path.join(harness, f"{TASKS[name]}.yaml"), "task": f"local_{name}", "tag": "local", "dataset_path": "json",
                   "dataset_name": None, "dataset_kwargs": {"data_files": splits}, "test_split": None, "validation_split": "validation"}, file)


def by_harness(arguments):
    import lm_eval
    from lm_eval.tasks import TaskManager
    sys.path.insert(0, os.path.dirname(HERE))
    from tcrt.harness import TcrtLM
    harness = os.path.join(os.path.dirname(lm_eval.__file__), "tasks")
    with tempfile.TemporaryDirectory() as folder:
        for name in TASKS:
            write_task(folder, name, harness)
        model = TcrtLM(arguments.artifact, library=arguments.library, threads=arguments.threads)
        results = lm_eval.simple_evaluate(model=model, tasks=[f"local_{name}" for name in TASKS], num_fewshot=0, log_samples=True,
                                          bootstrap_iters=0, task_manager=TaskManager(include_path=folder))
        text = model.generate_until([type("Request", (), {"args": ("The Sun is a", {"until": ["\n"], "max_gen_toks": 8})})()])
        assert isinstance(text[0], str) and text[0], text
    return results


def by_tcc(arguments):
    with tempfile.TemporaryDirectory() as folder:
        samples = os.path.join(folder, "samples.jsonl")
        command = [arguments.tcc, "eval", arguments.artifact, "--tasks", os.path.join(HERE, "tasks"), "--json", "--samples", samples]
        report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        with open(samples) as file:
            return {task["task"]: task for task in report["tasks"]}, [json.loads(line) for line in file]


def figures(task):
    return {key: value["value"] if isinstance(value, dict) else value for key, value in task.items()
            if key not in ("task", "documents") and value is not None}


def close(a, b):
    return abs(a - b) <= TOLERANCE * max(abs(a), abs(b))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact")
    parser.add_argument("--tcc", default="tcc")
    parser.add_argument("--library")
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    os.environ |= {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    try:
        import lm_eval
    except ImportError:
        print("skipped: lm_eval is not installed")
        return 0
    theirs, (ours, samples) = by_harness(arguments), by_tcc(arguments)
    worst, faults = 0.0, []
    for name in TASKS:
        reported = theirs["results"][f"local_{name}"]
        for figure, value in figures(ours[name]).items():
            expected = reported[f"{figure},none"]
            print(f"{name:24}{figure:18}{value:12.6f}{expected:12.6f}")
            if not close(value, expected):
                faults.append(f"{name}: {figure} is {value}, lm_eval has {expected}")
        mine = {sample["document"]: sample["log_likelihoods"] for sample in samples if sample["task"] == name}
        for sample in theirs["samples"][f"local_{name}"]:
            expected = [response[0] if isinstance(response, (list, tuple)) else response for response in sample["filtered_resps"]]
            found = mine[sample["doc_id"]]
            assert len(found) == len(expected), (name, found, expected)
            worst = max([worst] + [abs(a - b) / max(abs(a), abs(b)) for a, b in zip(found, expected)])
            faults += [f"{name}, document {sample['doc_id']}: {a}, lm_eval has {b}" for a, b in zip(found, expected) if not close(a, b)]
    print(f"log-likelihoods of {len(samples)} documents differ by {worst:.1e} of themselves at most (lm_eval {lm_eval.__version__})")
    print("\n".join(faults), end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
