# The command `throughline` alone, as a static program with the web UI in it, on an empty base.
# Build in the root of the repository:
#
#   docker build -f deploy/images/throughline.Dockerfile -t throughline:0.1.0 .
#
# `--build-context build=DIR` replaces the stage `build` by a folder with what it makes.
FROM docker.io/library/node:22-bookworm-slim AS ui
WORKDIR /src/ui
COPY ui/package.json ui/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY ui .
RUN npm run build

FROM docker.io/library/rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends musl-tools
WORKDIR /src
COPY rust-toolchain.toml .
RUN rustup target add x86_64-unknown-linux-musl
COPY . .
COPY --from=ui /src/ui/dist ui/dist
RUN cargo build --locked --release --package throughline-cli --target x86_64-unknown-linux-musl
RUN install -D -m 0755 target/x86_64-unknown-linux-musl/release/throughline /out/throughline \
  && strip /out/throughline \
  && install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ca-certificates.crt

FROM scratch
COPY --from=build /out/ /
USER 65532:65532
ENTRYPOINT ["/throughline"]
