// Drives the Vercel AI SDK's Anthropic provider through the gateway.

import { readFileSync } from "node:fs";
import { createAnthropic } from "@ai-sdk/anthropic";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { ASK_TOOL, CITY, KEY, MODEL, POOR_KEY, SENTENCE, SKY, URL, must, raised, ride } from "./riding.mjs";

const packed = new globalThis.URL("./node_modules/@ai-sdk/anthropic/package.json", import.meta.url);
const model = (apiKey = KEY) => createAnthropic({ baseURL: `${URL}/v1`, apiKey })(MODEL);

await ride(
  {
    async plain() {
      const { text } = await generateText({ model: model(), prompt: "Hello there", maxOutputTokens: 200 });
      must(text === SENTENCE, text);
    },
    async stream() {
      const result = streamText({ model: model(), prompt: "Hello there", maxOutputTokens: 200 });
      const kinds = [];
      let text = "";
      for await (const part of result.fullStream ?? result.stream) {
        kinds.push(part.type);
        if (part.type === "text-delta") text += part.text;
        must(part.type !== "error", part);
      }
      must(text === SENTENCE && kinds.at(-1) === "finish", { kinds, text });
    },
    async tools() {
      const weather = tool({
        description: "The weather of a city.",
        inputSchema: z.object({ city: z.string() }),
        execute: async ({ city }) => (city === CITY ? SKY : "unknown"),
      });
      const asked = { model: model(), prompt: ASK_TOOL, tools: { weather }, maxOutputTokens: 200 };
      const { text, steps } = await generateText({ ...asked, stopWhen: stepCountIs(3) });
      must(text.includes(SKY) && steps.length === 2, { text, steps: steps.length });
    },
    async errors() {
      await raised(() => generateText({ model: model(POOR_KEY), prompt: "Hello", maxOutputTokens: 9 }), "credits");
    },
  },
  `@ai-sdk/anthropic ${JSON.parse(readFileSync(packed, "utf8")).version}`,
);
