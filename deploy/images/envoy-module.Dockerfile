# The module for Envoy: `/libthroughline_envoy.so`, for an image volume, and a static program that
# copies it for clusters without image volumes. Build in the root of the repository:
#
#   docker build -f deploy/images/envoy-module.Dockerfile -t throughline-envoy:0.1.0 .
#
# `--build-context build=DIR` replaces the stage `build` by a folder with what it makes.
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY rust-toolchain.toml .
RUN rustup target add x86_64-unknown-linux-musl
COPY . .
RUN cargo build --locked --release --package throughline-envoy
RUN install -D -m 0755 target/release/libthroughline_envoy.so /out/libthroughline_envoy.so \
  && strip --strip-debug /out/libthroughline_envoy.so \
  && rustc --edition 2024 --target x86_64-unknown-linux-musl -C opt-level=s -C strip=symbols \
    -o /out/copy deploy/images/copy.rs

FROM scratch
COPY --from=build /out/ /
USER 65532:65532
ENTRYPOINT ["/copy", "/libthroughline_envoy.so"]
CMD ["/throughline/libthroughline_envoy.so"]
