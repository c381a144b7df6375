# What the other scripts share. Sourced, never run.

say() { printf '%s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Where everything that is not source lives: build output, downloaded tools, container trees.
cache_dir() { printf '%s' "${STREAMHOUSE_CACHE:-$HOME/.cache/streamhouse}"; }

# rustup's installer changes the PATH of new shells only.
[ -x "$HOME/.cargo/bin/cargo" ] && PATH="$PATH:$HOME/.cargo/bin"
export PATH
