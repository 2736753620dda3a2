// An HTTP server with Node's own stack: `server.js http1|http2 HOST PORT`.
"use strict";
const [protocol, host, port] = process.argv.slice(2);

// Responds with the path and the length of the body; /login with the user of the connection.
function answer(request, response) {
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
      setTimeout(() => response.end(`${request.url} ${count}`), request.url === "/slow" ? 20 : 0);
    }
  });
  request.on("error", () => {});
}

const server =
  protocol === "http2"
    ? require("node:http2").createServer({ settings: { maxConcurrentStreams: 10 } }, answer)
    : require("node:http").createServer({ keepAliveTimeout: 1000 }, answer);
server.listen(Number(port), host, () => console.log("listening"));
