#!/usr/bin/env bash
# Starts the bento in this container: without a command, or with options only, the service; `serve …` with its options;
# anything else as it is given.
set -euo pipefail

for environment in /app/.venv .venv; do
  if [ -f "$environment/bin/activate" ]; then
    # shellcheck disable=SC1091
    source "$environment/bin/activate"
    break
  fi
done

if [ -n "${PORT+set}" ]; then
  echo "\$PORT is set! Overriding \$BENTOML_PORT with \$PORT ($PORT)"
  export BENTOML_PORT=$PORT
fi

case "${1:-}" in
  '' | -*)
    case "${BENTOML_SERVE_COMPONENT:-}" in
      http_server) exec python -m bentoml_cli._internal.start start-http-server "$@" "$BENTO_PATH" ;;
      grpc_server) exec python -m bentoml_cli._internal.start start-grpc-server "$@" "$BENTO_PATH" ;;
      runner) exec python -m bentoml_cli._internal.start start-runner-server "$@" "$BENTO_PATH" ;;
      *) exec bentoml serve "$@" "$BENTO_PATH" ;;
    esac
    ;;
  start-http-server | start-grpc-server | start-runner-server)
    exec python -m bentoml_cli._internal.start "$@" "$BENTO_PATH"
    ;;
  serve | serve-http | serve-grpc)
    exec bentoml "$@" "$BENTO_PATH"
    ;;
  *)
    exec "$@"
    ;;
esac
