# One image with every program. Usual build:
#
#   docker build -t isotherm .
#
# Where no registry is reached, both other inputs can come from this machine:
#
#   cargo xtask image
#
# which gives `programs`, a folder laid out as the stage of that name below, and a base image.

ARG BASE=gcr.io/distroless/cc-debian12:nonroot
ARG RUST=docker.io/library/rust:1.95-bookworm

FROM ${RUST} AS build
ARG PROFILE=release
RUN apt-get update && apt-get install -y --no-install-recommends npm python3-pip && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo xtask setup && cargo build --locked --profile ${PROFILE} -p image
# One file under every program's name: it is what it is called.
RUN mkdir -p /programs/bin /programs/lib \
 && install -s -m 0555 target/$(test ${PROFILE} = dev && echo debug || echo ${PROFILE})/isotherm-image /programs/bin/ \
 && for program in archiver compactor executor hot-writer ingest isotherm operator query; do \
      ln -s isotherm-image /programs/bin/${program}; done \
 && install -s -m 0444 .tools/duckdb/libduckdb.so /programs/lib/

FROM scratch AS programs
COPY --from=build /programs /

FROM ${BASE}
COPY --from=programs bin/ /usr/local/bin/
COPY --from=programs lib/ /usr/local/lib/
# The loader knows where the library is whatever path was compiled in.
ENV LD_LIBRARY_PATH=/usr/local/lib
# The user of the distroless images; nothing of the file system has to be writable.
USER 65532:65532
WORKDIR /
ENTRYPOINT ["/usr/local/bin/isotherm"]
LABEL org.opencontainers.image.title=isotherm \
      org.opencontainers.image.licenses=Apache-2.0
