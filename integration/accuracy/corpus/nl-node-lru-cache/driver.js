// A catalogue service that keeps the pages it has made in a bounded cache.
//
// Most visitors ask for what is popular, some for something out of the long tail, so
// the cache takes a while to fill. From then on each new page pushes an old one out and
// the process keeps its size.
const { LRUCache } = require("lru-cache");
const { safe, serve } = require("./service.js");

const MAX = 4000;
const ITEMS = 200000;
const pages = new LRUCache({ max: MAX });
const counts = { hit: 0, miss: 0 };

// Pseudo-random numbers in [0, 1), the same in each run.
let state = 12345;
function random() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 4294967296;
}

function makePage(id) {
  const rows = [];
  for (let i = 0; i < 20; i++) {
    rows.push({ sku: `sku-${id}-${i}`, title: `item ${id} in colour ${i}`, price: id + i / 10 });
  }
  return { id, made: Date.now(), rows };
}

function showPage(id) {
  let page = pages.get(id);
  if (page) {
    counts.hit++;
  } else {
    counts.miss++;
    page = makePage(id);
    pages.set(id, page);
  }
  return page.rows[0].sku.length + page.rows.length;
}

// In the control nobody asks for anything but the popular pages.
serve(() => {
  const range = safe || random() < 0.4 ? 200 : ITEMS;
  return void showPage(Math.floor(random() * range));
}).then(() => console.log(counts, "kept", pages.size));
