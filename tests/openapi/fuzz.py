"""Fuzzes a running facilitator with Schemathesis, by the document that it serves itself.

Arguments: the URL; seconds; a seed; optionally an API key. Every reply must be as documented, and no 5xx may come but 503 with the
body that the document has for it. The document is narrowed for the requests: schemes, networks and assets are mostly those that are
served, so that requests get further than the first check.
"""

import json
import subprocess
import sys
import tempfile
import urllib.request

CHECKS = ",".join(
    [
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "response_headers_conformance",
        "unsupported_method",
        "not_a_server_error",
    ]
)
# A documented 503 is no fault; every other 5xx is one.
CONFIG = "[checks]\nnot_a_server_error.expected-statuses = ['2xx', '3xx', '4xx', '503']\n"
USDC = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"


def fetch(url: str, key: str | None) -> dict:
    request = urllib.request.Request(url, headers={"X-API-Key": key} if key else {})
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def main() -> int:
    url, examples, seed = sys.argv[1:4]
    key = sys.argv[4] if len(sys.argv) > 4 else None
    document = fetch(f"{url}/openapi.json", None)
    kinds = fetch(f"{url}/supported", key)["kinds"]
    served = {name: sorted({kind[name] for kind in kinds}) for name in ("scheme", "network")}
    terms = document["components"]["schemas"]["PaymentRequirements"]["properties"]
    for name, values in [*served.items(), ("asset", [USDC, "0x00"])]:
        terms[name] = {"anyOf": [{"enum": values}, {"enum": values}, {"enum": values}, {"type": "string"}]}
    # A route of a scheme may reply as it likes; what does not exist is 404 for every method.
    with tempfile.TemporaryDirectory() as folder:
        narrowed, config = f"{folder}/openapi.json", f"{folder}/schemathesis.toml"
        with open(narrowed, "w", encoding="utf-8") as file:
            json.dump(document, file)
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG)
        command = ["schemathesis", "--config-file", config, "run", narrowed, "--url", url, "--checks", CHECKS, "--max-examples", examples]
        command += ["--seed", seed, "--continue-on-failure", "--no-color"]
        if key:
            command += ["--header", f"X-API-Key: {key}"]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
