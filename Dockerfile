# Ringback in an image of its own: the program, the libraries it is linked to, the certificates of the public authorities, and
# nothing else; it runs as nobody.
#
#   docker build -t ringback .
#   docker run -d --name ringback -p 127.0.0.1:8080:8080 -v ringback:/data ringback
#   docker exec ringback ringback token create --operator
FROM rust:1.92-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libc6-dev gcc
WORKDIR /source
COPY . .
RUN cargo build --profile dist --locked
# Everything that the image has, in a folder.
RUN scripts/image target/dist/ringback /image

FROM scratch
COPY --from=build --chown=65534:65534 /image /
USER 65534:65534
ENV RINGBACK_DATABASE=sqlite:/data/ringback.db RINGBACK_LISTEN=0.0.0.0:8080 SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
WORKDIR /data
VOLUME /data
EXPOSE 8080
# serve finishes what is under way: give it longer than drain_timeout, docker stop --time 30.
STOPSIGNAL SIGTERM
ENTRYPOINT ["ringback"]
CMD ["serve"]
