// Parses LogQL by Grafana's own grammar. Usage: node check.mjs FILE..., a query in each.
import { parser } from '@grafana/lezer-logql';
import { readFileSync } from 'node:fs';

let faults = 0;
for (const file of process.argv.slice(2)) {
  const query = readFileSync(file, 'utf8');
  parser.parse(query).iterate({
    enter(node) {
      if (!node.type.isError) return;
      faults++;
      console.log(`${file}: not LogQL at "${query.slice(node.from, node.from + 40)}"`);
    },
  });
}
process.exit(faults ? 1 : 0);
