// Requests to the admin listener. The token goes into the Authorization header, and nowhere else: not into a URL, a cookie or a
// storage of the browser.

import { Lines } from "./lines.ts";
import { encoded } from "./text.ts";
import type { Acts, Done, Explained, Overview, Payments, Series } from "./types.ts";

const TIMEOUT_MS = 30_000;
/** The stream sends a line every 2 s. */
const SILENCE_MS = 10_000;

/** An answer that is an error, or no answer (status 0). */
export class ApiError extends Error {
  readonly status: number;
  readonly retryAfterS: number | null;

  constructor(status: number, sentence: string, retryAfterS: number | null = null) {
    super(sentence);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

export class Client {
  private readonly token: string;

  constructor(token: string) {
    this.token = token;
  }

  overview(): Promise<Overview> {
    return this.get<Overview>("/api/overview");
  }

  series(): Promise<Series> {
    return this.get<Series>("/api/series");
  }

  payments(query: URLSearchParams, signal?: AbortSignal): Promise<Payments> {
    return this.get<Payments>(`/api/payments?${query.toString()}`, signal);
  }

  explain(name: string): Promise<Explained> {
    return this.get<Explained>(`/api/payments/${encoded(name)}`);
  }

  log(): Promise<Acts> {
    return this.get<Acts>("/api/log");
  }

  async change(path: string, body: Record<string, unknown>): Promise<Done> {
    const response = await this.request(`/api/${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS * 2),
    });
    return json<Done>(response);
  }

  /** Calls `received` for each overview until the stream ends, which is an error. */
  async follow(received: (overview: Overview) => void, signal: AbortSignal): Promise<never> {
    const silence = new AbortController();
    let timer = setTimeout(() => silence.abort(), SILENCE_MS);
    try {
      const both = AbortSignal.any([signal, silence.signal]);
      const response = await this.request("/api/stream", { signal: both });
      const reader = response.body?.getReader();
      if (!reader) throw new ApiError(0, "the stream has no body");
      const decoder = new TextDecoder();
      const lines = new Lines();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) throw new ApiError(0, "the listener ended the stream");
        for (const line of lines.add(decoder.decode(value, { stream: true }))) {
          clearTimeout(timer);
          timer = setTimeout(() => silence.abort(), SILENCE_MS);
          received(JSON.parse(line) as Overview);
        }
      }
    } catch (error) {
      if (silence.signal.aborted && !signal.aborted) throw new ApiError(0, `nothing arrived for ${SILENCE_MS / 1000} s`);
      throw sentence(error);
    } finally {
      clearTimeout(timer);
      silence.abort();
    }
  }

  private async get<T>(path: string, signal?: AbortSignal): Promise<T> {
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
    const response = await this.request(path, { signal: signal ? AbortSignal.any([signal, timeout]) : timeout });
    return json<T>(response);
  }

  private async request(path: string, init: RequestInit): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(path, {
        ...init,
        headers: { ...init.headers, authorization: `Bearer ${this.token}` },
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
        referrerPolicy: "no-referrer",
      });
    } catch (error) {
      throw sentence(error);
    }
    if (!response.ok) throw await refused(response);
    return response;
  }
}

async function refused(response: Response): Promise<ApiError> {
  let what = `HTTP ${response.status}`;
  try {
    const body: unknown = await response.json();
    if (typeof body === "object" && body !== null && "error" in body && typeof body.error === "string") what = body.error;
  } catch {
    // A proxy's answer: the status says enough.
  }
  const after = Number(response.headers.get("retry-after") ?? Number.NaN);
  return new ApiError(response.status, what, Number.isFinite(after) && after >= 0 ? after : null);
}

async function json<T>(response: Response): Promise<T> {
  try {
    return (await response.json()) as T;
  } catch (error) {
    throw sentence(error);
  }
}

function sentence(error: unknown): Error {
  if (error instanceof ApiError) return error;
  if (error instanceof DOMException && error.name === "TimeoutError") return new ApiError(0, "the listener did not answer in time");
  if (error instanceof DOMException && error.name === "AbortError") return error;
  if (error instanceof SyntaxError) return new ApiError(0, "the answer is not JSON");
  return new ApiError(0, "the listener can't be reached");
}

/** What to show of an error. */
export function said(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const after = error instanceof ApiError && error.retryAfterS !== null ? ` (try again in ${error.retryAfterS} s)` : "";
  return text + after;
}
