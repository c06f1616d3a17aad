// Talks to the address it is given as an application would, with the official SDK, and prints what it met: one line of
// JSON for each exchange, with its name and either what was `said` or what was `thrown`.

import OpenAI from "openai";

const HELLO = [{ role: "user", content: "Hello" }];
const ASK_FOR_WEATHER = [{ role: "user", content: "Please call get_weather for Oslo." }];
const WEATHER = {
  name: "get_weather",
  description: "The weather of a city",
  parameters: {
    type: "object",
    properties: { city: { type: "string" }, unit: { type: "string", enum: ["celsius", "fahrenheit"] } },
    required: ["city", "unit"],
    additionalProperties: false,
  },
};
const RECIPE = {
  name: "recipe",
  strict: true,
  schema: {
    type: "object",
    properties: {
      title: { type: "string" },
      minutes: { type: "integer" },
      difficulty: { type: "string", enum: ["easy", "hard"] },
      steps: { type: "array", items: { type: "string" } },
    },
    required: ["title", "minutes", "difficulty", "steps"],
    additionalProperties: false,
  },
};
const PICTURE = "data:image/png;base64," + Buffer.alloc(150_000, "\x89PNG").toString("base64");

const [address] = process.argv.slice(2);
// Without the SDK's own retries, so that every failure shows.
const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: "client-secret-canary", maxRetries: 0, timeout: 30_000 });

async function ask(request) {
  const { data, response } = await client.chat.completions.create({ model: "auto", messages: HELLO, ...request }).withResponse();
  return { answer: data, model: response.headers.get("x-router-model") };
}

async function chunksOf(request) {
  const chunks = [];
  const stream = await client.chat.completions.create({ model: "auto", messages: HELLO, stream: true, ...request });
  try {
    for await (const chunk of stream) chunks.push(chunk);
  } catch (error) {
    throw Object.assign(error, { heard: chunks.length });
  }
  return chunks;
}

async function toolsAndTheirResult() {
  const tools = [{ type: "function", function: WEATHER }];
  const asked = await ask({ messages: ASK_FOR_WEATHER, tools });
  const message = asked.answer.choices[0].message;
  const result = { role: "tool", tool_call_id: message.tool_calls[0].id, content: "Rain, 4 degrees" };
  const told = await ask({ messages: [...ASK_FOR_WEATHER, message, result], tools });
  return { asked, told };
}

// The SDK's own loop: it streams, calls the function, sends its result and streams the answer to that.
async function toolsRunBySdk() {
  const calls = [];
  const callable = (place) => (calls.push(place), "Rain, 4 degrees");
  const tools = [{ type: "function", function: { ...WEATHER, function: callable, parse: JSON.parse } }];
  const runner = client.chat.completions.runTools({ model: "auto", messages: ASK_FOR_WEATHER, tools, stream: true });
  return { content: await runner.finalContent(), calls };
}

async function models() {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  return names;
}

const picture = [{ type: "text", text: "What is this?" }, { type: "image_url", image_url: { url: PICTURE } }];

const EXCHANGES = {
  question: () => ask({}),
  stream: () => chunksOf({}),
  stream_with_usage: () => chunksOf({ stream_options: { include_usage: true } }),
  tools: toolsAndTheirResult,
  tools_run_by_sdk: toolsRunBySdk,
  structured_output: () => ask({ response_format: { type: "json_schema", json_schema: RECIPE } }),
  choices: () => ask({ n: 3 }),
  logprobs: () => ask({ logprobs: true, top_logprobs: 2 }),
  picture: () => ask({ messages: [{ role: "user", content: picture }] }),
  models,
  unknown_model: () => ask({ model: "no-such-model" }),
  unknown_model_streamed: () => chunksOf({ model: "no-such-model" }),
  connection_reset: () => chunksOf({ model: "reset" }),
  connection_closed: () => chunksOf({ model: "closed" }),
  end_without_done: () => chunksOf({ model: "unfinished" }),
};

for (const [name, exchange] of Object.entries(EXCHANGES)) {
  const line = { name };
  try {
    line.said = await exchange();
  } catch (error) {
    const { status, code, message, heard } = error;
    const decision = error.headers?.get("x-router-decision");
    line.thrown = { class: error.constructor.name, status, code, message, heard, decision };
  }
  console.log(JSON.stringify(line));
}
