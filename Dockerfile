# syntax=docker/dockerfile:1
# One static binary, every role: `docker run tourmesh serve booking`, `… migrate`, `… health http://127.0.0.1:50052`.

# Alpine's toolchain links musl statically by default, on x86-64 and arm64 alike; its C compiler is for `ring`.
FROM rust:1.95-alpine AS build
# Not pinned: Alpine keeps only the newest build of a package, so a pinned one stops installing within weeks.
# hadolint ignore=DL3018
RUN apk add --no-cache build-base
WORKDIR /src
COPY . .
# Downloads and objects stay in the builder's cache, so a change rebuilds what it touched; the binary leaves the cache.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked --package tourmesh-cli --bin tourmesh \
    && install -D -m 0755 target/release/tourmesh /out/tourmesh \
    # A binary that asks for a loader would not start in an empty image: say so here, not in production.
    && readelf --program-headers /out/tourmesh > /tmp/headers \
    && ! grep -q INTERP /tmp/headers \
    && install -d -m 1777 /out/tmp

# Nothing but the binary: no shell, no package manager. The roots that TLS trusts are compiled in.
FROM scratch
LABEL org.opencontainers.image.title="tourmesh" \
      org.opencontainers.image.description="Bookings for tours and activities, as a mesh of gRPC services" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/ /
USER 65532:65532
# gRPC of the five services, the gateway, and health with metrics where METRICS_LISTEN is set to it.
EXPOSE 50051-50055 8080 9464
STOPSIGNAL SIGTERM
ENTRYPOINT ["/tourmesh"]
CMD ["--help"]
