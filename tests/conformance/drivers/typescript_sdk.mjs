// Drives the official TypeScript SDK through the gateway.

import Anthropic from "@anthropic-ai/sdk";
import { VERSION } from "@anthropic-ai/sdk/version";
import { ASK_TOOL, CITY, KEY, MODEL, NotServed, POOR_KEY, SENTENCE, SKY, URL, must, raised, ride } from "./riding.mjs";

const client = new Anthropic({ baseURL: URL, apiKey: KEY });
const hello = [{ role: "user", content: "Hello there" }];
const tools = [
  {
    name: "weather",
    description: "The weather of a city.",
    input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
];
const thinking = { type: "enabled", budget_tokens: 1024 };

await ride(
  {
    async plain() {
      const message = await client.messages.create({ model: MODEL, max_tokens: 200, messages: hello });
      must(message.content[0].text === SENTENCE && message.model === MODEL, message);
    },
    async stream() {
      const events = client.messages.stream({ model: MODEL, max_tokens: 200, messages: hello });
      const kinds = [];
      for await (const event of events) kinds.push(event.type);
      must((await events.finalMessage()).content[0].text === SENTENCE, "another text");
      must(kinds[0] === "message_start" && kinds.at(-1) === "message_stop", kinds);
    },
    async tools() {
      const messages = [{ role: "user", content: ASK_TOOL }];
      const asked = { model: MODEL, max_tokens: 4000, thinking, tools, messages };
      const first = await client.messages.stream(asked).finalMessage();
      const [thought, , call] = first.content;
      must(thought.type === "thinking" && call.input.city === CITY, first);
      messages.push({ role: "assistant", content: first.content });
      messages.push({ role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: SKY }] });
      const last = await client.messages.create(asked);
      must(last.content[0].text.includes(SKY), last);
    },
    async errors() {
      const began = Date.now();
      const ask = { model: MODEL, max_tokens: 10, messages: hello };
      const bad = await raised(() => client.messages.create({ ...ask, messages: [] }), "messages");
      must(bad instanceof Anthropic.BadRequestError, bad.name);
      const poor = await raised(() => client.withOptions({ apiKey: POOR_KEY }).messages.create(ask), "credits");
      must(poor.status === 402, poor.status);
      must(Date.now() - began < 10_000, "a refusal was repeated");
    },
    async count_tokens() {
      must((await client.messages.countTokens({ model: MODEL, messages: hello, tools })).input_tokens > 0, "no count");
    },
    async models() {
      const ids = [];
      for await (const model of client.models.list({ limit: 1 })) ids.push(model.id);
      must(ids.includes(MODEL) && ids.length > 1, ids);
    },
    async batches() {
      const params = { model: MODEL, max_tokens: 50, messages: hello };
      let batch;
      try {
        batch = await client.messages.batches.create({ requests: [{ custom_id: "a", params }] });
      } catch (error) {
        if (error instanceof Anthropic.NotFoundError) throw new NotServed(error.message);
        throw error;
      }
      for (let tries = 0; batch.processing_status !== "ended" && tries < 300; tries++) {
        await new Promise((done) => setTimeout(done, 200));
        batch = await client.messages.batches.retrieve(batch.id);
      }
      for await (const line of await client.messages.batches.results(batch.id))
        must(line.result.type === "succeeded", line);
    },
  },
  `@anthropic-ai/sdk ${VERSION}`,
);
