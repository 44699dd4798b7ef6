// The server that `fanfare bench --dialect socketio` talks to: rooms, and acknowledgements.
//
//   node socketio.mjs [PORT]      prints its address once it listens

import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { serveClient: false, transports: ["websocket"] });

io.on("connection", (socket) => {
  socket.on("subscribe", (room, done) => {
    socket.join(room);
    done();
  });
  socket.on("publish", (room, data, done) => {
    io.to(room).emit("message", room, data);
    done();
  });
});

http.listen(Number(process.argv[2] ?? 0), "127.0.0.1", () => {
  console.log(`ws://127.0.0.1:${http.address().port}`);
});
