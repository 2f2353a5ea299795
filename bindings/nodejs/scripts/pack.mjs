// Packs the two npm tarballs: the main package and the one of this platform, which holds the addon.
// Usage: node scripts/pack.mjs [--out FOLDER] [--addon FILE]
//   --out    where the tarballs go (default: dist/ of the repository); older ones there are removed
//   --addon  packs this addon instead of building one for release
//
// The main package lists the platform packages as optional dependencies only here, when it is packed:
// in a checkout they are not published yet and npm would ask the registry for them.

import { spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

import { build, platform } from './build.mjs'

const here = join(dirname(fileURLToPath(import.meta.url)), '..')
const repository = join(here, '..', '..')
const { values } = parseArgs({ options: { out: { type: 'string' }, addon: { type: 'string' } } })
const out = resolve(values.out ?? join(repository, 'dist'))

const main = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8'))
const name = platform()
const addon = values.addon ? resolve(values.addon) : build({ release: true })

const { scripts, devDependencies, ...published } = main
published.optionalDependencies = { [`@kamacache/${name}`]: main.version }

const [os, cpu, libc] = name.split('-')
const { license, homepage, repository: source, engines, version } = main
const platformPackage = {
  name: `@kamacache/${name}`,
  version,
  description: `The native addon of kamacache for ${name}.`,
  license,
  homepage,
  repository: source,
  engines,
  os: [os],
  cpu: [cpu],
  ...(libc && { libc: [libc === 'gnu' ? 'glibc' : libc] }),
  type: 'commonjs',
  main: 'kamacache.node',
  files: ['kamacache.node'],
}

/** Makes a package folder under build/npm. */
function stage(folder, manifest, fill) {
  const target = join(repository, 'build', 'npm', folder)
  rmSync(target, { recursive: true, force: true })
  mkdirSync(target, { recursive: true })
  writeFileSync(join(target, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
  copyFileSync(join(repository, 'LICENSE'), join(target, 'LICENSE'))
  fill(target)
  return target
}

const folders = [
  stage('kamacache', published, (target) => {
    cpSync(join(here, 'lib'), join(target, 'lib'), { recursive: true })
    copyFileSync(join(here, 'README.md'), join(target, 'README.md'))
  }),
  stage(name, platformPackage, (target) => {
    copyFileSync(addon, join(target, 'kamacache.node'))
    writeFileSync(join(target, 'README.md'), `${platformPackage.description} Install \`kamacache\`; it depends on this.\n`)
  }),
]

mkdirSync(out, { recursive: true })
for (const file of readdirSync(out)) if (/^kamacache-.*\.tgz$/.test(file)) rmSync(join(out, file))
const { status } = spawnSync('npm', ['pack', '--silent', '--pack-destination', out, ...folders], { stdio: 'inherit' })
if (status !== 0) process.exit(status ?? 1)
for (const file of [`kamacache-${version}.tgz`, `kamacache-${name}-${version}.tgz`]) {
  if (!existsSync(join(out, file))) throw new Error(`npm pack did not make ${file} in ${out}`)
}
