'use strict'
// What `require('kamacache')` gives; index.mjs gives the same to `import`.

const { KamaCacheError } = require('./errors.js')
const { Group } = require('./group.js')
const { Node } = require('./node.js')

module.exports = { Group, KamaCacheError, Node }
