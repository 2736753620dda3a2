# The six services of the eshop, without any tracing code. Build in the root of the repository:
#
#   docker build -f deploy/images/eshop.Dockerfile -t throughline-eshop:0.1.0 .
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --locked --release --package eshop-bare
# The program with the libraries that it is linked to, under their own paths.
RUN install -D -m 0755 target/release/eshop-bare /out/eshop-bare \
  && strip /out/eshop-bare \
  && ldd target/release/eshop-bare | grep -o '/[^ ]*' | xargs -I{} cp --parents -L {} /out

FROM scratch
COPY --from=build /out/ /
USER 65532:65532
ENTRYPOINT ["/eshop-bare"]
