// Makes objects in rounds until its input ends; of each ten it keeps one.
'use strict';

const kept = [];
let sink;

function round() {
  for (let i = 0; i < 2000; i++) {
    const object = [i + 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5, 10.5, 11.5];
    if (i % 10 === 0) kept.push(object);
    sink = object;
  }
}

process.stdin.on('end', () => process.exit(0));
process.stdin.resume();
setInterval(round, 5);
console.log('ready');
