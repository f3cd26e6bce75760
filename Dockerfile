# Countersign as a container image: one binary, an unprivileged user, a root file system that may be read-only.
#
#   docker build -t countersign:local .
#   docker run --read-only -p 127.0.0.1:8080:8080 -v countersign:/var/lib/countersign \
#     -e COUNTERSIGN__ISSUER=http://localhost:8080 countersign:local
#
# All state is under /var/lib/countersign: data/ (the embedded database) and keys/ (the master key).
# scripts/container-proof follows these steps where there is no container engine.

ARG BUILD_IMAGE=rust:1.95-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /src

# The dependencies alone, so that this layer is kept until Cargo.toml or Cargo.lock changes.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY crates/verifier/Cargo.toml crates/verifier/
# Members of the workspace that are not built here have to be there all the same.
COPY examples/actix/Cargo.toml examples/actix/
COPY examples/axum/Cargo.toml examples/axum/
RUN mkdir -p src crates/verifier/src examples/actix/src examples/axum/src \
    && echo 'fn main() {}' | tee src/main.rs examples/actix/src/main.rs > examples/axum/src/main.rs \
    && : > src/lib.rs \
    && : > crates/verifier/src/lib.rs \
    && cargo build --release --locked --bin countersign \
    && rm -rf src crates/verifier/src

COPY askama.toml ./
COPY config config
COPY migrations migrations
COPY crates crates
COPY src src
# cargo goes by modification times, and the copied files are older than the placeholders were.
RUN touch src/main.rs src/lib.rs crates/verifier/src/lib.rs \
    && cargo build --release --locked --bin countersign \
    && install -D -m 755 target/release/countersign /image/countersign \
    && mkdir -p /image/state/data /image/state/keys \
    && chmod 700 /image/state/data /image/state/keys

FROM ${RUNTIME_IMAGE}
LABEL org.opencontainers.image.title="Countersign" \
      org.opencontainers.image.description="An OAuth 2.1 authorization server and OpenID Provider in one program" \
      org.opencontainers.image.licenses="Apache-2.0"

# Public certificate authorities, for a database whose certificate one of them signed.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /image/countersign /usr/local/bin/countersign
COPY --from=build --chown=10001:10001 /image/state /var/lib/countersign

# A number, so that an orchestrator can see that it is not root.
USER 10001:10001
WORKDIR /var/lib/countersign
VOLUME /var/lib/countersign
ENV COUNTERSIGN__HTTP__LISTEN=0.0.0.0:8080 \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["countersign", "health", "--url", "http://127.0.0.1:8080/readyz"]
ENTRYPOINT ["countersign"]
CMD ["serve"]
