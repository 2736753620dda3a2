// Clients as services have them: `client.js NAME HOST:PORT` writes what the server answered.
// They take a proxy from `http_proxy`: undici's agents because they are told to, `http` not at all.
"use strict";

const [name, address] = process.argv.slice(2);
const proxy = process.env.http_proxy;

async function text(dispatcher, path) {
  const { fetch } = require("undici");
  const response = await fetch(`http://${address}${path}`, { dispatcher });
  return response.text();
}

const clients = {
  async fetch() {
    return (await fetch(`http://${address}/fetch`)).text();
  },
  http() {
    return new Promise((resolve, reject) => {
      const request = require("node:http").get(`http://${address}/http`, (response) => {
        let body = "";
        response.on("data", (chunk) => (body += chunk)).on("end", () => resolve(body));
      });
      request.on("error", reject);
    });
  },
  async undici() {
    const { Agent, ProxyAgent } = require("undici");
    const dispatcher = proxy ? new ProxyAgent(proxy) : new Agent();
    const answers = [await text(dispatcher, "/undici/1"), await text(dispatcher, "/undici/2")];
    await dispatcher.close();
    return answers.join("; ");
  },
  ws() {
    const { WebSocket } = require("ws");
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(`ws://${address}/chat`);
      socket.on("open", () => socket.send("hello"));
      socket.on("message", (data) => {
        socket.close();
        resolve(String(data));
      });
      socket.on("error", reject);
    });
  },
};

clients[name]().then(
  (answer) => console.log(answer),
  (error) => {
    console.error(error);
    process.exitCode = 1;
  },
);
