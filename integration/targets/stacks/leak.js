// Leaks in one function, reached through methods and closures, beside requests that give back what they take: 250 times a
// second, from the line `go` to the next line, which it answers with what it has leaked. With the argument `objects` arrays
// leak, which live in V8's heap; else buffers, whose contents come from malloc.
'use strict';

const fs = require('fs');

const LEAK = 20000;
const SCRATCH = 3000;
const kept = [];
const objects = process.argv[2] === 'objects';

function leakSite(number) {
  if (objects) {
    // large enough for V8 to give it pages of its own
    kept.push(new Array(50000).fill(number + 0.5));
  } else {
    kept.push(Buffer.allocUnsafeSlow(LEAK).fill(1));
  }
}

function giveBack(size) {
  return Buffer.allocUnsafeSlow(size).fill(2).length;
}

function remember(number) {
  giveBack(SCRATCH + (number % 7) * 100);
  leakSite(number);
}

class Search {
  handle(number) {
    remember(number);
  }
}

const search = new Search();
const handlers = [
  (number) => remember(number),
  (number) => search.handle(number),
  (number) => {
    giveBack(SCRATCH);
    remember(number);
  },
];

function route(number) {
  handlers[number % 3](number);
}

function main() {
  let lines = 0;
  let number = 0;
  const work = () => {
    if (lines !== 1) return;
    route(number++);
    setTimeout(work, 4);
  };
  process.stdin.on('data', (text) => {
    for (const byte of text) {
      if (byte !== 10) continue;
      lines++;
      if (lines === 1) work();
      if (lines === 2) {
        const blocks = kept.length;
        const bytes = blocks * (objects ? 400000 : LEAK);
        const figures = `"allocated":${blocks},"bytes":${bytes},"live":${blocks},"live_bytes":${bytes}`;
        fs.writeSync(1, `{"sites":[{"function":"leakSite",${figures}}]}\n`);
      }
    }
  });
  fs.writeSync(1, 'ready\n');
}

main();
