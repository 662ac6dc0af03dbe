import { render } from "preact";
import "./app.css";
import { App } from "./app.tsx";
import { startRouting } from "./route.ts";
import { start } from "./state.ts";

const root = document.getElementById("app");
if (root) {
  startRouting();
  start();
  render(<App />, root);
}
