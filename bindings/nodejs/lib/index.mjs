// What `import ... from 'kamacache'` gives: the same objects as `require('kamacache')`.

import kamacache from './index.js'

export const { Group, KamaCacheError, Node } = kamacache
