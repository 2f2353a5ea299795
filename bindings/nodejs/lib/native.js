'use strict'
// Finds and loads the native addon: a local build when there is one (a checkout), else the package
// of this platform, which npm installs as an optional dependency.

const { existsSync } = require('node:fs')
const path = require('node:path')

/** Platforms that have a package. */
const PACKAGED = ['linux-x64-gnu']

function platform() {
  const { platform, arch } = process
  if (platform !== 'linux') return `${platform}-${arch}`
  const glibc = process.report?.getReport?.().header?.glibcVersionRuntime
  return `${platform}-${arch}-${glibc ? 'gnu' : 'musl'}`
}

function load() {
  const name = platform()
  const local = path.join(__dirname, '..', `kamacache.${name}.node`)
  if (existsSync(local)) return require(local)
  const wanted = `@kamacache/${name}`
  try {
    return require(wanted)
  } catch (cause) {
    throw new Error(`kamacache cannot load its native addon: ${reason(name, wanted, cause)}`, { cause })
  }
}

function reason(name, wanted, cause) {
  if (cause?.code !== 'MODULE_NOT_FOUND') return `${wanted} is installed but does not load: ${cause?.message}`
  if (!PACKAGED.includes(name)) {
    return `there is no package for this platform, ${name}; there is one for ${PACKAGED.join(', ')}`
  }
  return (
    `the package ${wanted} is not installed. It is an optional dependency of kamacache, so an install with ` +
    '--omit=optional (or --no-optional), or a node_modules folder copied from another platform, lacks it. ' +
    `Install again without that flag, or run: npm install ${wanted}`
  )
}

module.exports = load()
