# syntax=docker/dockerfile:1
# The broker in a container: docker build --tag streamhouse .
#   docker run -p 9092:9092 -p 9464:9464 -v streamhouse:/var/lib/streamhouse streamhouse
# Clients on other machines must be told where to connect:
#   -e STREAMHOUSE_ADVERTISED_LISTENERS=PLAINTEXT://broker.example.com:9092
# Every other key can be set the same way, or in a file mounted over /etc/streamhouse/streamhouse.toml.
# `make docker-check` carries out these instructions without an engine.

ARG RUST_VERSION=1.95
ARG DEBIAN=bookworm

FROM rust:${RUST_VERSION}-${DEBIAN} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ make cmake pkg-config libclang-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY protocol protocol
COPY storage storage
COPY broker broker
COPY compat-tests compat-tests
# The caches keep RocksDB compiled between builds; what leaves them is one stripped file.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    CARGO_TARGET_DIR=/build/target cargo build --locked --release --workspace --bin streamhouse \
 && strip -o /usr/local/bin/streamhouse /build/target/release/streamhouse

FROM debian:${DEBIAN}-slim
# All that the binary links to beyond libc; no shell script, no HTTP client is needed to run it or to ask for its health.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgcc-s1 libstdc++6 \
 && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 streamhouse \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/streamhouse --no-create-home --shell /usr/sbin/nologin streamhouse \
 && install -d -o streamhouse -g streamhouse -m 0750 /var/lib/streamhouse
COPY config/container.toml /etc/streamhouse/streamhouse.toml
COPY --from=build /usr/local/bin/streamhouse /usr/local/bin/streamhouse
USER 10001:10001
WORKDIR /var/lib/streamhouse
VOLUME /var/lib/streamhouse
EXPOSE 9092 9464
# SIGTERM: answers what waits, syncs the journal, ends. Give it longer than shutdown.timeout.ms (10 s): docker stop -t 20.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/streamhouse", "health", "--config", "/etc/streamhouse/streamhouse.toml"]
ENTRYPOINT ["/usr/local/bin/streamhouse"]
CMD ["serve", "--config", "/etc/streamhouse/streamhouse.toml"]
