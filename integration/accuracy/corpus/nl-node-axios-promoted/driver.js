// A gateway that asks a back end for a document on behalf of each visitor.
//
// Its requests outlive two collections of V8's small nursery and are dead soon after. They lie among
// the old objects until V8 collects those for the first time, minutes later.
const axios = require("axios");
const http = require("node:http");
const { serve } = require("./service.js");

const body = JSON.stringify({ rows: Array.from({ length: 20 }, (_, i) => ({ id: i, name: "row " + i })) });
const backend = http.createServer((req, res) => {
  res.setHeader("content-type", "application/json");
  res.end(body);
});
const agent = new http.Agent({ keepAlive: true });

async function fetchDocument(base, id) {
  const options = { params: { id }, httpAgent: agent };
  const answer = await axios.get(base + "/document", options);
  return answer.data.rows.length;
}

backend.listen(0, "127.0.0.1", async () => {
  const base = `http://127.0.0.1:${backend.address().port}`;
  await serve((i) => fetchDocument(base, i));
  agent.destroy();
  backend.close();
});
