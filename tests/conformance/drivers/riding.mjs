// What the drivers on Node have in common; riding.py says how they speak.

export const { FARE_URL: URL, FARE_KEY: KEY, FARE_POOR_KEY: POOR_KEY, FARE_MODEL: MODEL } = process.env;
export const SENTENCE = "The gate opens when the fare is held.";
export const CITY = "Utrecht";
export const SKY = "overcast, 11 degrees";
export const ASK_TOOL = `How is the weather? <<{"name": "weather", "input": {"city": "${CITY}"}}>>`;

export class NotServed extends Error {}

export function must(so, said) {
  if (!so) throw new Error(typeof said === "string" ? said : JSON.stringify(said));
}

export async function raised(doing, word) {
  try {
    await doing();
  } catch (error) {
    must(String(error.message ?? error).includes(word), `another error: ${error}`);
    return error;
  }
  throw new Error("nothing was raised");
}

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

export async function ride(features, version) {
  say({ version });
  for (const [feature, run] of Object.entries(features)) {
    try {
      await run();
      say({ feature, ok: true });
    } catch (error) {
      const said = `${error.name}: ${error.message}`.slice(0, 600);
      say(error instanceof NotServed ? { feature, served: false, said } : { feature, ok: false, said });
    }
  }
}
