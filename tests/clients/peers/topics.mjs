// The loop that everybody writes with `ws`, with topics: those who follow one get what is published to it, in the
// protocol's envelope. `deflate` as the README of ws recommends it, without a context for each connection.
//
//   node topics.mjs [PORT] [deflate]      prints its address once it listens

import { WebSocket, WebSocketServer } from "ws";

const [port = "0", deflate] = process.argv.slice(2);
const perMessageDeflate = deflate === "deflate" && {
  zlibDeflateOptions: { chunkSize: 1024, memLevel: 7, level: 3 },
  zlibInflateOptions: { chunkSize: 10 * 1024 },
  clientNoContextTakeover: true,
  serverNoContextTakeover: true,
  concurrencyLimit: 10,
  threshold: 1024,
};
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(port), perMessageDeflate });
const topics = new Map();

function find(name) {
  let topic = topics.get(name);
  if (topic === undefined) {
    topic = { head: 0, followers: new Set() };
    topics.set(name, topic);
  }
  return topic;
}

server.on("connection", (socket) => {
  const followed = [];
  socket.on("message", (text) => {
    const command = JSON.parse(text);
    if (command.type === "subscribe") {
      for (const name of command.topics) {
        const topic = find(name);
        topic.followers.add(socket);
        followed.push(topic);
        socket.send(JSON.stringify({ type: "subscribed", id: command.id, topic: name, offset: topic.head }));
      }
    } else if (command.type === "publish") {
      const topic = find(command.topic);
      const { id, data } = command;
      const offset = ++topic.head;
      // Once for all of them; as a string it would be encoded for each.
      const message = Buffer.from(JSON.stringify({ type: "message", topic: command.topic, offset, data }));
      for (const follower of topic.followers) {
        if (follower.readyState === WebSocket.OPEN) {
          follower.send(message, { binary: false });
        }
      }
      socket.send(JSON.stringify({ type: "published", id, topic: command.topic, offset }));
    }
  });
  socket.on("close", () => followed.forEach((topic) => topic.followers.delete(socket)));
  socket.send(JSON.stringify({ type: "welcome" }));
});

server.on("listening", () => console.log(`ws://127.0.0.1:${server.address().port}`));
