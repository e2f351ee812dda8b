// Node: V8 maps its heap for itself; the contents of buffers come from malloc. Keeps 40 buffers of 300,000 bytes
// and 48 MiB of objects. With the argument `churn` it works until its input ends.
'use strict';

const fs = require('fs');

const kept = [];

function say(text) {
  fs.writeSync(1, text + '\n');
}

// one object, an array of numbers and a string
function object(number) {
  return { number, list: new Array(50).fill(number + 0.5), text: 'x'.repeat(20) + number };
}

function churn() {
  let ended = false;
  let rounds = 0;
  process.stdin.on('data', () => {});
  process.stdin.on('end', () => (ended = true));
  say('ready');
  const work = () => {
    for (let number = 0; number < 2000; number++) {
      const { list, text } = object(number);
      const buffer = Buffer.alloc(10000 + number, number % 256);
      if (list[49] !== number + 0.5 || !text.endsWith(String(number)) || buffer[9999] !== number % 256) {
        process.exit(3);
      }
      try {
        if (number % 10 === 0) throw new Error('thrown');
      } catch (error) {
        if (error.message !== 'thrown') process.exit(3);
      }
    }
    if (++rounds % 2 === 0) say('.');
    if (ended) say('sound');
    else setImmediate(work);
  };
  work();
}

// true once a line has come
function line() {
  const byte = Buffer.alloc(1);
  while (fs.readSync(0, byte) === 1) {
    if (byte[0] === 10) return true;
  }
  return false;
}

if (process.argv[2] === 'churn') {
  churn();
} else {
  say('ready');
  line();
  for (let number = 0; number < 40; number++) kept.push(Buffer.allocUnsafeSlow(300000));
  for (let number = 0; number < 80000; number++) kept.push(object(number));
  say('{"sites":[{"allocated":40,"bytes":12000000,"live":40,"live_bytes":12000000}]}');
  while (line());
}
