// The server that `fanfare bench --dialect socketio` talks to: rooms, and acknowledgements. Set up as the
// documentation of Socket.IO recommends for many connections.
//
//   node socketio.mjs [PORT] [deflate]      prints its address once it listens

import { createServer } from "node:http";
import { Server } from "socket.io";

const [port = "0", deflate] = process.argv.slice(2);
const http = createServer();
const io = new Server(http, {
  serveClient: false,
  transports: ["websocket"],
  perMessageDeflate: deflate === "deflate" && {
    zlibDeflateOptions: { chunkSize: 1024, memLevel: 7, level: 3 },
    clientNoContextTakeover: true,
    serverNoContextTakeover: true,
    threshold: 1024,
  },
});

// The request that opened a connection is kept for middleware, of which there is none.
io.engine.on("connection", (socket) => {
  socket.request = null;
});

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

http.listen(Number(port), "127.0.0.1", () => {
  console.log(`ws://127.0.0.1:${http.address().port}`);
});
