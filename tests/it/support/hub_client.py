"""Calls the hub's own client as told by one JSON document, and prints what came of it as another.

The argument holds the name of a function of `huggingface_hub` and its keyword arguments. Printed is either
`{"result": …}` or `{"error": <class>, "status": <of the response, if there was one>, "message": …}`.
"""

import json
import sys

import huggingface_hub


def main() -> None:
    wanted = json.loads(sys.argv[1])
    try:
        result = getattr(huggingface_hub, wanted["function"])(**wanted["arguments"])
        if hasattr(result, "__next__"):
            result = [str(item) for item in result]
    except Exception as error:  # whatever the client raises is its answer
        response = getattr(error, "response", None)
        status = getattr(response, "status_code", None)
        json.dump({"error": type(error).__name__, "status": status, "message": str(error)}, sys.stdout)
        return
    json.dump({"result": result}, sys.stdout, default=str)


if __name__ == "__main__":
    main()
