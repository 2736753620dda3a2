# The module for Envoy: `/libthroughline_envoy.so`, for an image volume, and a program that copies it
# for clusters without image volumes. Build in the root of the repository:
#
#   docker build -f deploy/images/envoy-module.Dockerfile -t throughline-envoy:0.1.0 .
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --locked --release --package throughline-envoy
RUN install -D -m 0755 target/release/libthroughline_envoy.so /out/libthroughline_envoy.so \
  && strip --strip-debug /out/libthroughline_envoy.so

FROM docker.io/library/busybox:1.37-musl AS copy

FROM scratch
COPY --from=build /out/ /
COPY --from=copy /bin/busybox /bin/cp
USER 65532:65532
ENTRYPOINT ["/bin/cp", "/libthroughline_envoy.so"]
CMD ["/throughline/libthroughline_envoy.so"]
