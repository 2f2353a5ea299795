// P6: prints rows for benches/src/report.rs, as JSON. Called by the suite, through run.sh.

import * as hits from './hits.mjs'
import * as remote from './remote.mjs'

const rows = []
for (const part of [hits, remote]) {
  for await (const row of part.rows()) {
    console.error(`P6: ${row.metric}, ${row.peer_name}: ${row.ratio.toFixed(3)}`)
    rows.push(row)
  }
}
console.log(JSON.stringify(rows))
