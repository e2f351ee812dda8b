// What the Node cases have in common: their arguments, and the pace at which they work.
const { parseArgs } = require("node:util");

const { values } = parseArgs({
  options: {
    rate: { type: "string" },
    duration: { type: "string" },
    safe: { type: "boolean", default: false },
  },
});
const rate = Number(values.rate);
const end = Date.now() + Number(values.duration) * 1000;

// Calls step(n) at the rate, for the duration.
async function serve(step) {
  const start = Date.now();
  let done = 0;
  while (Date.now() < end) {
    const due = Math.floor(((Date.now() - start) / 1000) * rate);
    while (done < due) {
      await step(done++);
    }
    await new Promise((wake) => setTimeout(wake, Math.max(5, 1000 / rate)));
  }
  console.log("done", done);
}

// `safe`: the faulty call is to be left out.
module.exports = { safe: values.safe, serve };
