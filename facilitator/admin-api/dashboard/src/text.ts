// Texts from outside: payers, plugins and nodes write what they like. They are shown as text, so markup is harmless; here, what
// changes the order or the shape of the text around it is made visible, and what is long is cut.

// Control characters, marks that change the direction of writing, invisible characters, and halves of a surrogate pair.
const UNSAFE =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\udb40[\udc00-\udfff]/g;

/** The text with what is not visible written as `\u{202e}`. A joiner inside an emoji stays. */
export function visible(text: string): string {
  return text.replace(UNSAFE, (found, at: number) => {
    if (found === "\u200d" && joinsEmoji(text, at)) return found;
    const code = found.codePointAt(0) ?? 0;
    return `\\u{${code.toString(16)}}`;
  });
}

function joinsEmoji(text: string, at: number): boolean {
  const before = text.slice(Math.max(0, at - 3), at);
  const after = text.slice(at + 1, at + 3);
  return /\p{Extended_Pictographic}[\ufe0f\u{1f3fb}-\u{1f3ff}]?$/u.test(before) && /^\p{Extended_Pictographic}/u.test(after);
}

/** The first characters of a text, or `null` if it is no longer than that. Pairs of surrogates are not split. */
export function cut(text: string, max: number): string | null {
  if (text.length <= max) return null;
  const last = text.charCodeAt(max - 1);
  const splits = last >= 0xd800 && last <= 0xdbff;
  return text.slice(0, splits ? max - 1 : max);
}

/** A name where only a text can be: a label, a caption, an option. */
export function plain(name: string): string {
  const start = cut(name, 60);
  return visible(start === null ? name : `${start}…`);
}

/** Start and end of an id, or `null` if it is short. */
export function shortId(id: string): string | null {
  return id.length <= 16 ? null : `${id.slice(0, 8)}…${id.slice(-6)}`;
}

/** `encodeURIComponent`, which throws at half a surrogate pair, for any text. */
export function encoded(text: string): string {
  const whole = text.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd");
  return encodeURIComponent(whole);
}

/** Address of a transaction on an explorer, or `null` where there is none that a browser may open. */
export function explorerLink(template: string | null | undefined, transaction: string): string | null {
  if (!template || !transaction || !/^https?:\/\//i.test(template) || !template.includes("{}")) return null;
  return template.split("{}").join(encoded(transaction));
}
