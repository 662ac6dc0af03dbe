// The one dialog: it says what happens before it happens, and what was done after.

import { useSignal } from "@preact/signals";
import type { JSX, TargetedSubmitEvent } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { type Action, type Field, asked } from "./actions.ts";
import { said } from "./api.ts";
import { client, may, noticed } from "./state.ts";
import type { Done } from "./types.ts";
import { Text } from "./ui.tsx";

/** A button that opens the dialog of an action. It is absent where the token's role does not permit the action. */
export function Do({ action, children, label }: { action: Action; children: string; label?: string }): JSX.Element | null {
  if (!may(action.needs)) return null;
  return (
    <button type="button" class="act" aria-haspopup="dialog" aria-label={label} onClick={() => (asked.value = action)}>
      {children}
    </button>
  );
}

export function Dialog(): JSX.Element | null {
  const action = asked.value;
  return action ? <Open key={action.title} action={action} /> : null;
}

function Open({ action }: { action: Action }): JSX.Element {
  const element = useRef<HTMLDialogElement>(null);
  const busy = useSignal(false);
  const error = useSignal<string | null>(null);
  const done = useSignal<Done | null>(null);

  useEffect(() => {
    const opener = document.activeElement;
    const dialog = element.current;
    if (dialog && !dialog.open) dialog.showModal();
    return () => {
      dialog?.close();
      if (opener instanceof HTMLElement && opener.isConnected) opener.focus();
    };
  }, []);

  // The dialog's own event arrives late, when another action's dialog may be open.
  const close = (): void => {
    if (asked.value === action) asked.value = null;
  };
  const submit = async (event: TargetedSubmitEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    const with_ = client.value;
    if (busy.value || !with_) return;
    const values = read(new FormData(event.currentTarget));
    busy.value = true;
    error.value = null;
    try {
      done.value = await action.run(with_, values);
    } catch (failure) {
      if (noticed(failure)) close();
      error.value = said(failure);
    } finally {
      busy.value = false;
    }
  };

  return (
    <dialog
      ref={element}
      class="dialog"
      aria-labelledby="dialog-title"
      onClose={close}
      onCancel={(event) => {
        if (busy.value || done.value?.apiKey) event.preventDefault();
      }}
    >
      <h2 id="dialog-title">{action.title}</h2>
      {done.value ? (
        <Report done={done.value} close={close} />
      ) : (
        <form onSubmit={(event) => void submit(event)}>
          {action.about.length > 0 && (
            <dl class="about">
              {action.about.map(([name, value]) => (
                <div key={name}>
                  <dt>{name}</dt>
                  <dd>
                    <Text of={value} max={300} />
                  </dd>
                </div>
              ))}
            </dl>
          )}
          <ul class="effects">
            {action.effects.map((effect) => (
              <li key={effect}>{effect}</li>
            ))}
          </ul>
          {action.fields.map((field) => (
            <Input key={field.name} field={field} />
          ))}
          <div role="alert">
            {error.value !== null && (
              <p class="error">
                Not done: <Text of={error.value} max={500} />
              </p>
            )}
          </div>
          <div class="buttons">
            <button type="button" onClick={close} disabled={busy.value}>
              Cancel
            </button>
            <button type="submit" class="primary" aria-disabled={busy.value}>
              {busy.value ? "Working…" : action.verb}
            </button>
          </div>
        </form>
      )}
    </dialog>
  );
}

function read(form: FormData): Record<string, string> {
  const values: Record<string, string> = {};
  for (const name of new Set(form.keys())) values[name] = form.getAll(name).map(String).join(" ");
  return values;
}

function Input({ field }: { field: Field }): JSX.Element {
  const id = `field-${field.name}`;
  const hint = field.hint ? `${id}-hint` : undefined;
  if (field.kind === "scopes") {
    return (
      <fieldset>
        <legend>{field.label}</legend>
        {["verify", "settle", "supported"].map((scope) => (
          <label key={scope} class="check">
            <input type="checkbox" name={field.name} value={scope} defaultChecked /> {scope}
          </label>
        ))}
      </fieldset>
    );
  }
  return (
    <div class="field">
      <label for={id}>{field.label}</label>
      {field.kind === "text" ? (
        <textarea id={id} name={field.name} rows={3} maxLength={1000} required aria-describedby={hint} autoFocus />
      ) : (
        <input id={id} name={field.name} maxLength={100} required aria-describedby={hint} autoFocus autoComplete="off" pattern={field.pattern} />
      )}
      {field.hint && (
        <p class="hint" id={hint}>
          {field.hint}
        </p>
      )}
    </div>
  );
}

function Report({ done, close }: { done: Done; close: () => void }): JSX.Element {
  const copied = useSignal(false);
  const input = useRef<HTMLInputElement>(null);
  const first = useRef<HTMLButtonElement>(null);
  useLayoutEffect(() => first.current?.focus(), []);
  const copy = async (): Promise<void> => {
    input.current?.select();
    try {
      await navigator.clipboard.writeText(done.apiKey ?? "");
      copied.value = true;
    } catch {
      // Without a secure origin there is no clipboard: the key is selected and can be copied with the keyboard.
    }
  };
  return (
    <div role="status">
      <ul class="effects">
        {done.done.map((sentence) => (
          <li key={sentence}>
            <Text of={sentence} max={500} />
          </li>
        ))}
      </ul>
      {(done.failed ?? []).length > 0 && (
        <>
          <p class="error">Not done:</p>
          <ul class="effects">
            {done.failed?.map((sentence) => (
              <li key={sentence}>
                <Text of={sentence} max={500} />
              </li>
            ))}
          </ul>
        </>
      )}
      {done.apiKey && (
        <div class="field">
          <label for="api-key">API key, shown once</label>
          <input id="api-key" class="key" ref={input} readOnly value={done.apiKey} onFocus={(event) => event.currentTarget.select()} />
          <p class="hint">Only its hash is kept. Copy it before you close this dialog.</p>
        </div>
      )}
      <div class="buttons">
        {done.apiKey && (
          <button type="button" ref={first} onClick={() => void copy()}>
            {copied.value ? "Copied" : "Copy the key"}
          </button>
        )}
        <button type="button" class="primary" ref={done.apiKey ? null : first} onClick={close}>
          Close
        </button>
      </div>
    </div>
  );
}
