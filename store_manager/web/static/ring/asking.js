// How the service is asked: JSON within a time limit, and again and again, less often while it does not answer.

const EVERY_MS = 1000;
const LONGEST_PAUSE_MS = 15000;
const PATIENCE_MS = 15000;

/** The service did not answer, or could not: `reason` is its own sentence, if it had one. */
export class Unanswered extends Error {
  constructor(reason = "") {
    super(reason || "no answer");
    this.reason = reason;
  }
}

/** Return the JSON that the service answers at this address; throw Unanswered if there is none. */
export async function ask(path, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  let response;
  try {
    response = await fetch(query ? `${path}?${query}` : path, {
      headers: { Accept: "application/json" },
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
  } catch {
    throw new Unanswered();
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new Unanswered(answer.detail || String(response.status));
  }
  return answer;
}

/** Ask once a second for as long as the page is looked at; after a failure wait twice as long each time. */
export function keepAsking(path, { answered, failed }) {
  let pause = EVERY_MS;
  let timer;

  const round = async () => {
    clearTimeout(timer);
    if (document.hidden) {
      return;
    }
    try {
      answered(await ask(path));
      pause = EVERY_MS;
    } catch (error) {
      if (!(error instanceof Unanswered)) {
        throw error;
      }
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
      failed(error, pause / 1000);
    } finally {
      timer = setTimeout(round, pause);
    }
  };

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    pause = EVERY_MS;
    round();
  });
  round();
}
