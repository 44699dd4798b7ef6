// The server that `fanfare bench --dialect raw` talks to: what comes from one goes to all.
//
//   node loop.mjs [PORT]      prints its address once it listens

import { WebSocket, WebSocketServer } from "ws";

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2] ?? 0), perMessageDeflate: false });

server.on("connection", (socket) => {
  socket.on("message", (data, binary) => {
    for (const other of server.clients) {
      if (other.readyState === WebSocket.OPEN) {
        other.send(data, { binary });
      }
    }
  });
});

server.on("listening", () => console.log(`ws://127.0.0.1:${server.address().port}`));
