"""The official `openai` Python client against a running server: python openai_client.py BASE_URL MODEL"""

import enum
import math
import sys

import openai
import pydantic


def main(base_url: str, model: str) -> None:
    client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
    checks = (models, chat, streaming, choices, schema, tools, strict_tools, logprobs, completions, responses, embeddings, errors)
    for check in checks:
        check(client, model)
        print(f"openai-python: {check.__name__}: ok")


def ask(client, model, **more):
    messages = [{"role": "user", "content": "Name three colours."}]
    return client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=24, **more)


def models(client, model):
    assert model in [entry.id for entry in client.models.list()]
    assert client.models.retrieve(model).id == model


def chat(client, model):
    answer = ask(client, model)
    assert answer.choices[0].message.content and answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason in ("stop", "length")
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens and usage.completion_tokens <= 24
    stopped = ask(client, model, stop=[answer.choices[0].message.content[5:9]])
    assert stopped.choices[0].message.content == answer.choices[0].message.content[:5]
    assert stopped.choices[0].finish_reason == "stop"


def streaming(client, model):
    whole = ask(client, model).choices[0].message.content
    chunks = list(ask(client, model, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole
    assert chunks[-1].usage.completion_tokens <= 24 and not chunks[-1].choices
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in ("stop", "length")


def choices(client, model):
    messages = [{"role": "user", "content": "Tell a story."}]

    def three():
        answer = client.chat.completions.create(model=model, messages=messages, n=3, seed=7, max_tokens=16)
        return [choice.message.content for choice in answer.choices]

    first = three()
    assert len(set(first)) == 3 and three() == first


class Size(enum.Enum):
    small = "small"
    large = "large"


class Tail(pydantic.BaseModel):
    long: bool
    colours: list[Size] = pydantic.Field(max_length=3)


class Animal(pydantic.BaseModel):
    """What the client makes a strict schema of, with references and alternatives."""

    size: Size
    tail: Tail | None


def schema(client, model):
    messages = [{"role": "user", "content": "Describe a horse."}]
    asked = {"model": model, "messages": messages, "max_tokens": 400}
    for seed in range(4):
        answer = client.chat.completions.create(**asked, seed=seed, response_format={"type": "json_object"}, max_completion_tokens=4)
        assert answer.choices[0].message.content.lstrip().startswith("{")
        strict = client.chat.completions.parse(**asked, temperature=0, seed=seed, response_format=Animal)
        assert strict.choices[0].finish_reason == "stop" and isinstance(strict.choices[0].message.parsed, Animal)
    with client.chat.completions.stream(**asked, temperature=0, response_format=Animal) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == strict.choices[0].message.parsed
    response = client.responses.parse(model=model, input="Describe a horse.", temperature=0, text_format=Animal)
    assert isinstance(response.output_parsed, Animal)


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


def tools(client, model):
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    named = {"type": "function", "function": {"name": "get_weather"}}
    answer = client.chat.completions.create(
        model=model, messages=messages, tools=TOOLS, tool_choice=named, temperature=0, max_tokens=64
    )
    message = answer.choices[0].message
    # A small model may not end its call; then all of it must be there as text.
    if message.tool_calls:
        assert message.tool_calls[0].function.name == "get_weather"
        messages += [message.model_dump(exclude_none=True)]
        messages += [{"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": '{"sky": "clear"}'}]
    else:
        assert "get_weather" in message.content
    chunks = client.chat.completions.create(model=model, messages=messages, tools=TOOLS, max_tokens=16, stream=True)
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] in ("stop", "length", "tool_calls")


def strict_tools(client, model):
    class Feed(pydantic.BaseModel):
        amount: int
        to: Size

    messages = [{"role": "user", "content": "Feed the horse."}]
    asked = {"model": model, "messages": messages, "tools": [openai.pydantic_function_tool(Feed)], "max_tokens": 200}
    for parallel in (False, True):
        answer = client.chat.completions.parse(
            **asked, tool_choice="required", parallel_tool_calls=parallel, temperature=0, frequency_penalty=0.5
        )
        calls = answer.choices[0].message.tool_calls
        assert calls and all(isinstance(call.function.parsed_arguments, Feed) for call in calls)
        assert parallel or (len(calls) == 1 and answer.choices[0].finish_reason == "tool_calls")
    answer = client.chat.completions.create(**asked, temperature=0)
    assert answer.choices[0].message.content or answer.choices[0].message.tool_calls


def logprobs(client, model):
    answer = ask(client, model, logprobs=True, top_logprobs=3)
    scores = answer.choices[0].logprobs.content
    assert len(scores) == answer.usage.completion_tokens
    for score in scores:
        assert len(score.top_logprobs) == 3 and score.logprob <= 0
        # Greedy: the token is the best.
        assert score.token == score.top_logprobs[0].token
    text = b"".join(bytes(score.bytes) for score in scores).decode()
    assert text.startswith(answer.choices[0].message.content)


def completions(client, model):
    answer = client.completions.create(
        model=model, prompt=["Once upon a", "The capital of"], echo=True, logprobs=2, max_tokens=4, temperature=0
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    for choice, prompt in zip(answer.choices, ["Once upon a", "The capital of"]):
        assert choice.text.startswith(prompt) and choice.logprobs.token_logprobs[0] is None
        assert "".join(choice.logprobs.tokens) == choice.text
    parts = client.completions.create(model=model, prompt="Once upon a", max_tokens=4, temperature=0, stream=True)
    assert "".join(part.choices[0].text for part in parts) == answer.choices[0].text[len("Once upon a") :]


def responses(client, model):
    answer = client.responses.create(model=model, input="Say hello.", max_output_tokens=16, temperature=0)
    assert answer.output_text and answer.usage.output_tokens <= 16
    with client.responses.stream(model=model, input="Say hello.", max_output_tokens=16, temperature=0) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    assert text == answer.output_text


def embeddings(client, model):
    texts = ["A cat sleeps on the sofa.", "A kitten is sleeping on the couch.", "The central bank raised interest rates."]
    # The client asks for base64 where it is not told otherwise.
    answer = client.embeddings.create(model=model, input=texts)
    vectors = [entry.embedding for entry in answer.data]
    assert [entry.index for entry in answer.data] == [0, 1, 2] and answer.usage.prompt_tokens > 10
    dot = lambda a, b: sum(x * y for x, y in zip(a, b, strict=True))
    assert all(abs(math.sqrt(dot(vector, vector)) - 1) < 1e-4 for vector in vectors)
    assert dot(vectors[0], vectors[1]) > dot(vectors[0], vectors[2]), "what means the same is closer"
    plain = client.embeddings.create(model=model, input=texts[0], encoding_format="float").data[0].embedding
    assert all(abs(a - b) < 1e-6 for a, b in zip(plain, vectors[0], strict=True))
    assert len(client.embeddings.create(model=model, input=texts[0], dimensions=64).data[0].embedding) == 64


def errors(client, model):
    def fails(kind, **arguments):
        try:
            client.chat.completions.create(**{"model": model, "messages": [{"role": "user", "content": "x"}], **arguments})
        except kind as error:
            return error
        raise AssertionError(f"no {kind.__name__} for {arguments}")

    assert fails(openai.BadRequestError, temperature=9).param == "temperature"
    assert fails(openai.NotFoundError, model="unknown").code == "model_not_found"
    held = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": {"type": "string", "pattern": "x"}}}
    assert fails(openai.BadRequestError, response_format=held).param == "response_format.json_schema.schema"
    assert fails(openai.BadRequestError, extra_body={"messages": 3}).param == "messages"


if __name__ == "__main__":
    main(*sys.argv[1:])
