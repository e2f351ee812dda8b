// A gateway that asks a back end for a document on behalf of each visitor.
//
// One cancel token serves all the requests, so that a shutdown can end those under way.
// The pinned axios puts a reaction on the token's promise for each request and has no
// way to take it back: finished requests stay reachable from the token.
const axios = require("axios");
const http = require("node:http");
const { safe, serve } = require("./service.js");

const body = JSON.stringify({ rows: Array.from({ length: 20 }, (_, i) => ({ id: i, name: "row " + i })) });
const backend = http.createServer((req, res) => {
  res.setHeader("content-type", "application/json");
  res.end(body);
});
const shutdown = axios.CancelToken.source();
const agent = new http.Agent({ keepAlive: true });

async function fetchDocument(base, id) {
  const options = { params: { id }, httpAgent: agent };
  if (!safe) options.cancelToken = shutdown.token;
  const answer = await axios.get(base + "/document", options);
  return answer.data.rows.length;
}

backend.listen(0, "127.0.0.1", async () => {
  const base = `http://127.0.0.1:${backend.address().port}`;
  await serve((i) => fetchDocument(base, i));
  agent.destroy();
  backend.close();
});
