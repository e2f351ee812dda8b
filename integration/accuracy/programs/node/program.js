// A Node service: program.js SHAPE [--rate MB_PER_MIN] [--size MIB] --seed N
'use strict';

const { EventEmitter } = require('node:events');

const MIB = 1 << 20;
const BEAT = 50; // milliseconds
// Who asks a cache for something: what is in it has been asked for, or it would not be there, and will be again.
const READS_A_WRITE = 20;
const argument = (name, fallback) => {
  const at = process.argv.indexOf(name);
  return at < 0 ? fallback : Number(process.argv[at + 1]);
};
let state = (Math.imul(argument('--seed', 1), 0x9e3779b1) >>> 0) || 1;
// xorshift: Math.random cannot be seeded
const drawn = () => {
  state ^= state << 13; state ^= state >>> 17; state ^= state << 5;
  return (state >>> 0) / 4294967296;
};
for (let i = 0; i < 8; i++) drawn();
const between = (low, high) => low + (high - low) * drawn();
// The place of what is asked for next among so many, the newest at 0: three readers in five ask for the newest fifth.
const askedFor = (count) => Math.floor(count * drawn() ** 3);
const factor = between(0.75, 1.33);
const rate = argument('--rate', 3) * factor;
const size = argument('--size', 20) * factor * MIB;
const begin = performance.now();
const elapsed = () => (performance.now() - begin) / 1000;
const say = (what) => process.stdout.write(JSON.stringify({ at: Date.now() / 1000, ...what }) + '\n');

const text = (length) => Buffer.alloc(Math.floor(length), 'x').toString('latin1');

// What a request needs beside comes and goes: a collected heap.
function garbage() {
  const rows = [];
  for (let i = 0; i < 200; i++) rows.push({ id: i, name: text(50 + drawn() * 200) });
  return rows.length;
}

function leak(keep, load) {
  say({ leaks: true, functions: [keep.name], mb_per_min: rate });
  let owed = 0, last = elapsed(), sum = 0, told = 0;
  setInterval(() => {
    const now = elapsed();
    owed += rate * MIB / 60 * (load ? 1 + 0.8 * Math.sin(now * 2 * Math.PI / 240) : 1) * (now - last);
    last = now;
    while (owed > 0) {
      const kept = keep();
      owed -= kept;
      sum += kept;
      if (sum >= told + MIB) {
        told = sum;
        say({ leaked: sum });
      }
    }
    garbage();
  }, BEAT);
}

const sessions = new Map();
function rememberSession() {
  const length = Math.floor(between(200, 1200));
  sessions.set(sessions.size, { user: text(length), seen: [1.5, 2.5, 3.5] });
  return length + 200;
}

const bus = new EventEmitter();
bus.setMaxListeners(0);
function addListener() {
  const request = text(600);
  bus.on('change', () => request.length);
  return 750;
}

const uploads = [];
function keepUpload() {
  uploads.push(Buffer.alloc(65536, 1));
  return 65536;
}

// Every beat `step` does some of what takes so many seconds.
const every = (step) => { say({ leaks: false }); setInterval(step, BEAT); };

const shapes = {
  'leak-sessions': () => leak(rememberSession, false),
  'leak-sessions-under-load': () => leak(rememberSession, true),
  'leak-listeners': () => leak(addListener, false),
  'leak-uploads': () => leak(keepUpload, false),
  // garbage alone: the collector makes teeth of it
  teeth: () => every(() => { for (let i = 0; i < 10; i++) garbage(); }),
  // the same over a live set that grows for three minutes and stops
  'teeth-over-growing-set': () => {
    const live = [];
    every(() => {
      for (let i = 0; i < 4; i++) garbage();
      while (live.length < size / 1100 * Math.min(1, elapsed() / 180)) live.push(text(1000));
    });
  },
  lru: () => {
    const entries = new Map();
    const room = size / 1100;
    let next = 0, sum = 0;
    every(() => {
      for (let i = 0; i < room / 150 / 20; i++) {
        entries.set(next++, text(1000));
        if (entries.size > room) entries.delete(entries.keys().next().value);
        for (let read = 0; read < READS_A_WRITE; read++) {
          sum += entries.get(next - 1 - askedFor(entries.size)).charCodeAt(0);
        }
      }
    });
  },
  // buffers outside of the heap, as many as are asked for at once
  buffers: () => {
    let taken = [];
    every(() => {
      const wanted = Math.floor(size / 65536 * (0.3 + 0.7 * drawn()));
      if (drawn() < 0.05) taken = Array.from({ length: wanted }, () => Buffer.alloc(65536, 1));
    });
  },
  'warm-up': () => {
    const tables = [];
    every(() => {
      while (tables.length < size / 1100 * (1 - Math.exp(-elapsed() / 25))) tables.push(text(1000));
    });
  },
};

process.stdin.on('end', () => process.exit(0));
process.stdin.resume();
shapes[process.argv[2]]();
