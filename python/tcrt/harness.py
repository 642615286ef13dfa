"""The model `tcrt` of EleutherAI's lm-evaluation-harness.

    tcrt-lm-eval run --model tcrt --model_args model=model.pte --tasks hellaswag

is `lm_eval` with that model known; in a program, importing this module is enough. Tokens, windows and prompts are made as the harness's own
adapter for transformers makes them.
"""
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from . import Model, abi


@register_model("tcrt")
class TcrtLM(TemplateLM):
    """`model` is an artifact; `max_length` is less than all its positions where given. Requests run one after another, on all
    `threads`, so batch sizes and devices do not matter."""

    def __init__(self, model, library=None, tokenizer=None, max_length=None, threads=0, max_gen_toks=256, batch_size=None,
                 max_batch_size=None, device=None):
        super().__init__()
        self.model = Model(model, library, tokenizer)
        self.tokens = self.model.tokenizer
        positions = self.model.info.max_positions
        self.max_length = min(int(max_length or positions), positions)
        self.max_gen_toks = int(max_gen_toks)
        self.session = self.model.session(context=self.max_length, threads=int(threads))

    @property
    def eot_token_id(self):
        return self.tokens.eos

    @property
    def prefix_token_id(self):
        return self.tokens.eos if self.tokens.bos is None else self.tokens.bos

    @property
    def tokenizer_name(self):
        return "tcrt"

    def tok_encode(self, string, add_special_tokens=None, **_):
        tokens = self.tokens.encode(string, abi.PARSE_SPECIAL)
        adds_bos = self.tokens.adds_bos if add_special_tokens is None else add_special_tokens
        has_bos = add_special_tokens is None and tokens[:1] == [self.tokens.bos]
        return tokens if not adds_bos or has_bos or self.tokens.bos is None else [self.tokens.bos] + tokens

    def _loglikelihood_tokens(self, requests, disable_tqdm=False, **_):
        # In this order neighbours have the longest beginnings in common, which then run once.
        order = sorted(range(len(requests)), key=lambda i: requests[i][1] + requests[i][2])
        results = [None] * len(requests)
        for i in tqdm(order, disable=disable_tqdm, desc="log-likelihoods"):
            pair, context, continuation = requests[i]
            room = self.max_length + 1 - len(continuation)
            if room < 1:
                raise ValueError(f"{len(continuation)} tokens to predict, but the model has {self.max_length} positions")
            results[i] = self.session.log_likelihood(context[-room:], continuation)
            if pair is not None:
                self.cache_hook.add_partial("loglikelihood", pair, results[i])
        return results

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        results = []
        for (text,) in (request.args for request in requests):
            windows = get_rolling_token_windows(self.tok_encode(text), self.prefix_token_id, self.max_length, 1)
            windows = [(None, *make_disjoint_window(window)) for window in windows]
            results.append(sum(total for total, _ in self._loglikelihood_tokens(windows, disable_tqdm)))
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), results[-1])
        return results

    def generate_until(self, requests, disable_tqdm=False):
        results = []
        for context, options in tqdm([request.args for request in requests], disable=disable_tqdm, desc="generation"):
            results.append(self._generate(context, dict(options)))
            self.cache_hook.add_partial("generate_until", (context, options), results[-1])
        return results

    def _generate(self, context, options):
        until = options.pop("until", None) or []
        until = [until] if isinstance(until, str) else until
        max_new = int(next((options.pop(key) for key in ("max_gen_toks", "max_new_tokens", "max_tokens") if key in options), self.max_gen_toks))
        temperature = float(options.pop("temperature", 0.0) or 0.0)
        if not options.pop("do_sample", temperature > 0):
            temperature = 0.0
        sampling = {key: kind(options.pop(key)) for key, kind in (("top_k", int), ("top_p", float), ("min_p", float), ("seed", int)) if key in options}
        if options:
            raise ValueError(f"generation options that are not supported: {', '.join(options)}")
        if not 0 < max_new < self.max_length:
            raise ValueError(f"{max_new} tokens to generate, but the model has {self.max_length} positions")
        prompt = self.tok_encode(context)[-(self.max_length - max_new):]
        return self.session.generate(prompt, max_new, until, temperature, **sampling)


def main():
    from lm_eval.__main__ import cli_evaluate
    cli_evaluate()


if __name__ == "__main__":
    main()
