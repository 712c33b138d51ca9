# syntax=docker/dockerfile:1
# One image for every role of docker-compose.yml: `docker build -t callfold .`
# Not tried here: no container engine was at hand. The commands of the second stage were run on a bare Debian 12.

FROM rust:1-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# whisper.cpp for the machine the image runs on, not the one it is built on: x86-64 with AVX2 instead of -march=native.
ENV GGML_NATIVE=OFF
# The caches outlive a build and are no part of the image, so the program is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p callfold \
    && install -D -m 0755 target/release/callfold /out/callfold

FROM debian:bookworm-slim
# libstdc++ is whisper.cpp's; the certificates are for Twilio and the speech and chat services.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --home-dir /var/lib/callfold --shell /usr/sbin/nologin callfold \
    && install -d -o callfold -g callfold /var/lib/callfold /var/lib/callfold/data \
        /var/lib/callfold/data/recordings /var/lib/callfold/data/models
COPY --from=build /out/callfold /usr/local/bin/callfold
COPY LICENSE /usr/share/doc/callfold/LICENSE
# By number, so that an orchestrator can see that it is not root.
USER 10001
# `./data` of the program is this folder's: volumes are mounted at data/recordings and data/models, and a named volume
# that is new takes the owner from the image.
WORKDIR /var/lib/callfold
# A role starts no processes and handles SIGTERM itself, so it needs no init in front of it. Health checks are in
# docker-compose.yml: `callfold health --listen 127.0.0.1:5000`.
EXPOSE 5000
ENTRYPOINT ["callfold"]
CMD ["--help"]
