// The database's side of the service: a SQLite table of products, and how many queries it was asked.
// Nothing else in the service touches the database.

import Database from 'libsql'

export function openProducts(file) {
  const db = new Database(file)
  db.pragma('journal_mode = WAL') // readers do not wait for the writer
  db.pragma('busy_timeout = 5000') // three processes share the file
  const select = db.prepare('SELECT id, name, price FROM products WHERE id = ?')
  const update = db.prepare('UPDATE products SET price = ? WHERE id = ?')
  let queries = 0
  return {
    find(id) {
      queries += 1
      const row = select.get(id)
      return row && { id: row.id, name: row.name, price: row.price }
    },
    /** False when there is no such product. */
    setPrice: (id, price) => update.run(price, id).changes === 1,
    queries: () => queries,
    close: () => db.close(),
  }
}

export function createProducts(file, count) {
  const db = new Database(file)
  db.pragma('journal_mode = WAL')
  db.exec('CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price INTEGER NOT NULL)')
  const insert = db.prepare('INSERT INTO products VALUES (?, ?, ?)')
  db.transaction(() => {
    for (let id = 1; id <= count; id++) insert.run(id, `Product ${id}`, 100 + id)
  })()
  db.close()
}
