"""Parses recorded replies with the models of the official Python client. Argument: the file of the recording.

Prints how many distinct replies there were, and each one that a model refuses.
"""

import json
import sys

from x402.schemas.responses import SettleResponse, SupportedResponse, VerifyResponse

MODELS = {"/verify": VerifyResponse, "/settle": SettleResponse, "/supported": SupportedResponse}


def main() -> int:
    with open(sys.argv[1], encoding="utf-8") as lines:
        replies = {(r["path"], r["status"], r["body"]) for r in map(json.loads, lines)}
    refused = 0
    for path, status, body in sorted(replies):
        # The client reads a body of another status as text, except that of a payment.
        if path == "/supported" and status != 200:
            continue
        try:
            parsed = MODELS[path].model_validate_json(body)
        except ValueError as error:
            refused += 1
            print(f"{path} {status}: {body}\n  {error}")
            continue
        sent = json.loads(body)
        for ours, theirs in (("isValid", "is_valid"), ("success", "success"), ("transaction", "transaction")):
            if ours in sent and getattr(parsed, theirs) != sent[ours]:
                refused += 1
                print(f"{path} {status}: {theirs} is {getattr(parsed, theirs)!r} in {body}")
    print(f"The models of the Python client read {len(replies) - refused} of {len(replies)} distinct replies.")
    return 1 if refused or not replies else 0


if __name__ == "__main__":
    sys.exit(main())
