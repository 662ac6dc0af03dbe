// What the stream needs that has no browser in it.

/** Longest line: an overview is far shorter. A longer one means that something else answers. */
export const MAX_LINE = 16 * 1024 * 1024;

/** Cuts a stream of text into lines. */
export class Lines {
  private rest = "";

  /** The lines that this piece completes. Throws if a line is too long. */
  add(piece: string): string[] {
    const parts = (this.rest + piece).split("\n");
    this.rest = parts.pop() ?? "";
    if (this.rest.length > MAX_LINE) throw new Error("a line of the stream is too long");
    return parts.filter((line) => line.trim() !== "");
  }
}

/** Milliseconds until the next attempt: 1 s, 2 s, 4 s … 30 s, each 20 % shorter or longer, so that pages do not return together. */
export function backoff(attempt: number, random: number): number {
  const base = Math.min(30_000, 1_000 * 2 ** Math.min(attempt, 10));
  return Math.round(base * (0.8 + 0.4 * random));
}
