# Stands for docker.io/library/rust:1.95-bookworm where no registry of images is reached: Debian,
# the packages of buildpack-deps:bookworm that a build of ours could use (without those for images
# and for databases), and a minimal toolchain under the same paths.
FROM scratch
ADD debian.tar /
ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo
ENV PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
RUN apt-get update && apt-get install -y --no-install-recommends \
    autoconf automake bzip2 ca-certificates curl dpkg-dev file g++ gcc git gnupg libbz2-dev \
    libc6-dev libcurl4-openssl-dev libdb-dev libevent-dev libffi-dev libgdbm-dev libglib2.0-dev \
    libgmp-dev libkrb5-dev liblzma-dev libncurses5-dev libncursesw5-dev libreadline-dev \
    libsqlite3-dev libssl-dev libtool libxml2-dev libxslt-dev libyaml-dev make netbase \
    openssh-client patch procps unzip wget xz-utils zlib1g-dev \
  && rm -rf /var/lib/apt/lists/*
# The authorities that this machine trusts: there may be a proxy.
COPY ca-certificates.crt /etc/ssl/certs/
COPY rustup /usr/local/cargo/bin/
RUN for name in cargo rustc rustdoc; do ln -s rustup /usr/local/cargo/bin/$name; done \
  && rustup toolchain install 1.95.0 --profile minimal && rustup default 1.95.0
