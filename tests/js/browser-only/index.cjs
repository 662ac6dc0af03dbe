// The legacy x402 packages list wallet libraries for their browser paywall (wagmi, the CDP SDK: 500 MB with all they
// pull in). A seller or buyer in Node.js never imports them, so package.json replaces them by this folder; should
// a future version import one after all, this says what to do.
throw new Error("a browser wallet library was imported: remove its entry from `overrides` in tests/js/package.json");
