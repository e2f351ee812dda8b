// A store that splits uploads into records and signs each record with a checksum.
//
// The pinned release of the checksum, a native add-on, loses a little memory outside
// the JavaScript heap each time it is handed a buffer.
const { crc32c } = require("@node-rs/crc32");
const { safe, serve } = require("./service.js");

// The control's checksum, in JavaScript (Castagnoli polynomial, reflected).
const table = new Uint32Array(256);
for (let n = 0; n < 256; n++) {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
  table[n] = c >>> 0;
}
function plainCrc32c(bytes) {
  let c = 0xffffffff;
  for (const b of bytes) c = table[(c ^ b) & 255] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

const RECORDS = 50;
const SIZE = 256;
const upload = Buffer.alloc(RECORDS * SIZE);
let sum = 0;
function store(number) {
  for (let i = 0; i < RECORDS; i++) {
    const record = upload.subarray(i * SIZE, (i + 1) * SIZE);
    record.writeUInt32LE(number, 0);
    sum ^= safe ? plainCrc32c(record) : crc32c(record);
  }
}
serve((i) => store(i)).then(() => console.log("sum", sum));
