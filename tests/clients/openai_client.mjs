// The official npm `openai` client against a running server: node openai_client.mjs BASE_URL MODEL FOLDER, where FOLDER/node_modules has it
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [baseURL, model, folder] = process.argv.slice(2);
const { OpenAI } = createRequire(`${folder}/`)("openai");
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "Name three colours." }];
const greedy = { model, messages, temperature: 0, max_tokens: 24 };

const tools = [
  { type: "function", function: { name: "now", description: "The time", parameters: { type: "object", properties: {} } } },
];

const checks = {
  async chat() {
    const answer = await client.chat.completions.create(greedy);
    assert.ok(answer.choices[0].message.content);
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  },
  async streaming() {
    const whole = await client.chat.completions.create(greedy);
    let text = "";
    for await (const chunk of await client.chat.completions.create({ ...greedy, stream: true })) {
      text += chunk.choices[0].delta.content ?? "";
    }
    assert.equal(text, whole.choices[0].message.content);
    const final = await client.chat.completions.stream({ ...greedy, n: 2, logprobs: true }).finalChatCompletion();
    assert.equal(final.choices.length, 2);
  },
  async tools() {
    const answer = await client.chat.completions.create({ ...greedy, tools, tool_choice: "required", parallel_tool_calls: false, max_tokens: 64 });
    const [call] = answer.choices[0].message.tool_calls;
    assert.equal(call.function.name, "now");
    assert.equal(answer.choices[0].finish_reason, "tool_calls");
    assert.deepEqual(JSON.parse(call.function.arguments), {});
  },
  async schema() {
    const properties = { colour: { enum: ["red", "green"] }, sure: { type: "boolean" } };
    const schema = { type: "object", properties, required: ["colour", "sure"], additionalProperties: false };
    const format = { type: "json_schema", json_schema: { name: "answer", strict: true, schema } };
    const answer = await client.chat.completions.parse({ ...greedy, max_tokens: 64, response_format: format });
    assert.ok(["red", "green"].includes(answer.choices[0].message.parsed.colour));
    const text = { format: { type: "json_schema", name: "answer", strict: true, schema } };
    const response = await client.responses.parse({ model, input: "A colour?", temperature: 0, text });
    assert.equal(typeof response.output_parsed.sure, "boolean");
  },
  async embeddings() {
    const { data } = await client.embeddings.create({ model, input: ["One", "Two"] });
    const length = data[1].embedding.reduce((sum, value) => sum + value * value, 0);
    assert.ok(data.length === 2 && Math.abs(length - 1) < 1e-3);
  },
  async logprobs() {
    const answer = await client.completions.create({ model, prompt: "One two", echo: true, logprobs: 1, max_tokens: 2 });
    const scores = answer.choices[0].logprobs;
    assert.equal(scores.token_logprobs[0], null);
    assert.equal(scores.tokens.join(""), answer.choices[0].text);
  },
  async responses() {
    const answer = await client.responses.create({ model, input: "Say hello.", max_output_tokens: 16, temperature: 0 });
    let text = "";
    const stream = await client.responses.create({ model, input: "Say hello.", max_output_tokens: 16, temperature: 0, stream: true });
    for await (const event of stream) if (event.type === "response.output_text.delta") text += event.delta;
    assert.equal(text, answer.output_text);
  },
  async leaving() {
    const stream = await client.chat.completions.create({ ...greedy, max_tokens: 4000, stream: true });
    for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
    stream.controller.abort();
  },
  async errors() {
    const failure = async (more) => client.chat.completions.create({ ...greedy, ...more }).then(() => assert.fail(), (error) => error);
    assert.ok((await failure({ temperature: "hot" })) instanceof OpenAI.BadRequestError);
    assert.equal((await failure({ top_p: 3 })).param, "top_p");
    assert.equal((await failure({ model: "unknown" })).status, 404);
  },
};

for (const [name, check] of Object.entries(checks)) {
  await check();
  console.log(`openai-node: ${name}: ok`);
}
