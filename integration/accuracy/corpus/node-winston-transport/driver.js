// A web service that makes a logger of its own for each request, to carry the request's
// id, and hands them all the one transport of the process.
//
// A logger pipes itself into its transports, and piping puts listeners on the
// transport. Nothing takes them off when the request is over, so the transport keeps
// every logger there has been.
const http = require("node:http");
const { Writable } = require("node:stream");
const winston = require("winston");
const { safe, serve } = require("./service.js");

let lines = 0;
const sink = new Writable({
  write(chunk, encoding, done) {
    lines++;
    done();
  },
});
const transport = new winston.transports.Stream({ stream: sink });

function requestLogger(id) {
  return winston.createLogger({
    level: "info",
    format: winston.format.json(),
    defaultMeta: { request: id },
    transports: [transport],
  });
}

let seen = 0;
const server = http.createServer((req, res) => {
  const log = requestLogger(++seen);
  log.info("start", { url: req.url });
  res.end("hello");
  log.info("end");
  if (safe) log.close();
});
server.listen(0, "127.0.0.1", async () => {
  const { port } = server.address();
  const agent = new http.Agent({ keepAlive: true });
  await serve(() => new Promise((resolve, reject) => {
    http.get({ host: "127.0.0.1", port, agent }, (res) => res.resume().on("end", resolve)).on("error", reject);
  }));
  agent.destroy();
  server.close();
});
