// An HTTP server with Node's own stack: `server.js http1|http2 HOST PORT`.
"use strict";
const [protocol, host, port] = process.argv.slice(2);

let answers = 0;

// Responds with the path and the length of the body; /login with the user of the connection, and
// /goaway ends a connection of HTTP/2 now and then. The paths of `limits` test those of HTTP/1.
function answer(request, response) {
  const limit = limits[request.url];
  if (limit) {
    limit(response);
    return;
  }
  let count = 0;
  request.on("data", (chunk) => {
    count += chunk.length;
  });
  request.on("end", () => {
    if (request.url === "/login") {
      const connection = request.socket;
      const [scheme, user] = (request.headers.authorization ?? "").split(" ");
      if (scheme === "NTLM") {
        connection.user = user;
      }
      const known = connection.user ?? "";
      response.writeHead(known ? 200 : 401, known ? {} : { "WWW-Authenticate": "NTLM" });
      response.end(known);
    } else {
      if (request.url === "/goaway" && request.httpVersionMajor === 2 && ++answers % 50 === 0) {
        request.stream.session.close();
      }
      setTimeout(() => response.end(`${request.url} ${count}`), request.url === "/slow" ? 20 : 0);
    }
  });
  request.on("error", () => {});
}

// Written to the socket: as servers respond that take less care than Node does.
function raw(text) {
  return (response) => response.socket.end(text);
}

const limits = {
  "/unauthorized": (response) => response.writeHead(401).end(),
  "/hints": (response) => {
    response.writeEarlyHints({ link: "</style.css>; rel=preload; as=style" });
    response.end("hints");
  },
  "/trailers": (response) => {
    response.writeHead(200, { Trailer: "X-Sum" });
    response.write("trailers");
    response.addTrailers({ "X-Sum": "42" });
    response.end();
  },
  "/cut": (response) => response.write("part", () => response.socket.destroy()),
  "/both": raw(
    "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" +
      "8\r\nas a who\r\n2\r\nle\r\n0\r\n\r\n",
  ),
  "/spelling": (response) => response.writeHead(299, "Fine Thing", { "X-CaSe": "a" }).end(),
  "/999": (response) => response.writeHead(999).end(),
  "/space": raw("HTTP/1.1 200 OK\r\nX-a : one\r\nContent-Length: 5\r\n\r\nspace"),
  "/fields": (response) => {
    for (let number = 0; number < 400; number++) {
      response.setHeader(`X-Field-${number}`, "a");
    }
    response.end();
  },
};

const server =
  protocol === "http2"
    ? require("node:http2").createServer({ settings: { maxConcurrentStreams: 10 } }, answer)
    : require("node:http").createServer({ keepAliveTimeout: 1000 }, answer);
server.on("checkContinue", (request, response) => {
  if (request.url !== "/unauthorized") {
    response.writeContinue();
  }
  answer(request, response);
});
server.listen(Number(port), host, () => console.log("listening"));
