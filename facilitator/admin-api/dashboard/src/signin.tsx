// The form for the token.

import { useSignal } from "@preact/signals";
import type { JSX, TargetedSubmitEvent } from "preact";
import { said } from "./api.ts";
import { signIn, signedOutBecause } from "./state.ts";
import { Text } from "./ui.tsx";

export function SignIn(): JSX.Element {
  const busy = useSignal(false);
  const error = useSignal<string | null>(null);
  const submit = async (event: TargetedSubmitEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    if (busy.value) return;
    const form = event.currentTarget;
    const token = String(new FormData(form).get("token") ?? "").trim();
    if (!/^[\x21-\x7e]+$/.test(token)) {
      error.value = "A token has only letters, digits and signs, without spaces.";
      return;
    }
    busy.value = true;
    error.value = null;
    try {
      await signIn(token);
    } catch (failure) {
      error.value = said(failure);
    } finally {
      busy.value = false;
    }
  };
  const why = error.value ?? signedOutBecause.value;
  return (
    <main class="signin" id="main">
      <h1>Switchyard</h1>
      <form onSubmit={(event) => void submit(event)}>
        <input type="text" name="username" value="switchyard" autoComplete="username" hidden readOnly />
        <div class="field">
          <label for="token">Operator token</label>
          <input id="token" name="token" type="password" required autoFocus autoComplete="current-password" spellcheck={false} aria-describedby="token-hint" />
          <p class="hint" id="token-hint">
            This page keeps it in memory only and forgets it when it is closed or reloaded.
          </p>
        </div>
        <div role="alert">
          {why !== null && (
            <p class="error">
              <Text of={why} max={500} />
            </p>
          )}
        </div>
        <button type="submit" class="primary" aria-disabled={busy.value}>
          {busy.value ? "Opening…" : "Open"}
        </button>
      </form>
    </main>
  );
}
